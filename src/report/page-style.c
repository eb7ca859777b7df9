/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/page.h"

/*
 * The series of the charts, in the order of build-name.c. Told apart by those
 * who do not tell red from green as well (after Okabe and Ito), and 3 to 1 at
 * least against the paper.
 */
#define LIGHT \
    "--ink:#1b2228;--muted:#56616b;--line:#d9dfe4;--paper:#fff;" \
    "--soft:#f3f6f8;--link:#0b5cad;" \
    "--c0:#77818b;--c1:#a8558f;--c2:#0072b2;--c3:#00866a;--c4:#cc5500;" \
    "--c5:#8a7a00;--c6:#333;"
#define DARK \
    "--ink:#e3e8ec;--muted:#a7b1ba;--line:#39424a;--paper:#14181c;" \
    "--soft:#1d2329;--link:#7db8f0;" \
    "--c0:#99a3ad;--c1:#dc94c6;--c2:#5aaee8;--c3:#2fbd94;--c4:#f2904a;" \
    "--c5:#cdbd45;--c6:#ddd;"

#define COLOURS \
    ":root{color-scheme:light dark;" LIGHT "}\n" \
    "@media (prefers-color-scheme:dark){:root{" DARK "}}\n"

const char page_colours[] = COLOURS;

const char page_style[] =
    COLOURS
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%;text-size-adjust:100%}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.55 system-ui,'Liberation Sans',sans-serif;"
    "overflow-wrap:break-word}\n"
    "main{max-width:812px;margin:0 auto;padding:24px 16px 64px}\n"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .8rem}\n"
    "h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .6rem;"
    "padding-top:.9rem;border-top:1px solid var(--line)}\n"
    "h3{font-size:1.05rem;margin:2rem 0 .5rem}\n"
    "p,ul{margin:.6rem 0}\nul{padding-left:1.2rem}\n"
    "li{margin:.25rem 0}\n"
    "code,pre{font-family:ui-monospace,'Liberation Mono',monospace;"
    "font-size:.88em}\n"
    "pre{background:var(--soft);padding:10px 12px;border-radius:6px;"
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:.8rem 0}\n"
    "pre span{white-space:nowrap}\n"
    /* Tables wider than the page scroll in a box of their own. */
    ".box{overflow-x:auto;margin:1rem 0;position:relative}\n"
    ".list thead th{text-align:left}\n"
    ".box:focus-visible{outline:2px solid var(--link)}\n"
    "table{border-collapse:collapse;font-size:.875rem;line-height:1.35;"
    "min-width:100%;font-variant-numeric:tabular-nums}\n"
    "caption{text-align:left;color:var(--muted);padding:0 0 .5rem;"
    "caption-side:top}\n"
    "th,td{padding:5px 8px;text-align:right;vertical-align:baseline;"
    "white-space:nowrap;font-weight:400}\n"
    "thead th{color:var(--muted);vertical-align:bottom;"
    "border-bottom:1px solid var(--muted);white-space:normal;"
    "overflow-wrap:normal}\n"
    "thead small{display:block;font-size:.8125rem;white-space:nowrap}\n"
    "tbody tr{border-bottom:1px solid var(--line)}\n"
    "th:first-child{text-align:left;padding-left:0;position:sticky;left:0;"
    "background:var(--paper);z-index:1}\n"
    "tbody tr.group th{font-weight:600;padding-top:14px}\n"
    /* In sight while the columns scroll under them. */
    "caption span,tr.group span{position:sticky;left:0;"
    "display:inline-block;max-width:calc(100vw - 32px);white-space:normal}\n"
    "td.words{text-align:left;white-space:normal;min-width:11rem;"
    "overflow-wrap:anywhere}\n"
    "td:last-child,th:last-child:not(:first-child){padding-right:2px}\n"
    "td.none{color:var(--muted)}\n"
    ".dot{display:inline-block;width:.6em;height:.6em;border-radius:50%;"
    "margin-right:.5em;background:var(--c)}\n"
    ".note{color:var(--muted);font-size:.875rem}\n"
    "figure{margin:1.4rem 0;break-inside:avoid}\n"
    "figcaption{color:var(--muted);font-size:.875rem;margin-top:.3rem}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;"
    "padding:0;margin:.3rem 0;font-size:.875rem}\n"
    ".legend li{margin:0}\n.legend b{color:var(--c);font-weight:400}\n"
    ".charts{display:flex;flex-wrap:wrap;gap:14px 20px}\n"
    ".chart{flex:1 1 100%;min-width:0}\n"
    ".chart.half{flex:1 1 340px;max-width:512px}\n"
    "@media (min-width:641px){.chart.half{max-width:calc(50% - 10px)}}\n"
    ".chart>p{margin:.2rem 0;font-weight:600;font-size:.95rem}\n"
    "svg{display:block;width:100%;height:auto}\n"
    "svg text{font-family:system-ui,'Liberation Sans',sans-serif;"
    "font-variant-numeric:tabular-nums}\n"
    "svg.narrow{display:none}svg.sbmap{max-width:512px}\n"
    "@media (max-width:640px){svg.wide{display:none}"
    "svg.narrow{display:block;max-width:480px}"
    "h1{font-size:1.45rem}main{padding-top:16px}"
    "th:first-child{white-space:normal;min-width:9.4rem}"
    /* Words go below what they are about. */
    ".list tr,.list th,.list td{display:block;text-align:left;padding:0}"
    ".list thead{display:none}.list tbody tr{padding:6px 0}"
    ".list tr:not(.group) th{color:var(--muted)}"
    ".charts .sbmap .n{font-size:15px}}\n"
    "@media print{:root{color-scheme:light;" LIGHT "}\n"
    "@page{size:A4;margin:16mm 14mm}\n"
    "body{font-size:10pt}main{max-width:none;padding:0}\n"
    "svg.wide{display:block}svg.narrow{display:none}\n"
    ".box{overflow:visible}table{font-size:8pt}th,td{padding:3px 5px}\n"
    "th:first-child{position:static}\n"
    "thead small{font-size:7.5pt}td.words{min-width:0}\n"
    "h2,h3{break-after:avoid}h2{margin-top:1.6rem}\n"
    "tr,figure,pre{break-inside:avoid}tr.group{break-after:avoid}\n"
    /* In the dark, it has colours of its own. */
    ".charts svg.sbmap{color:var(--ink)}figcaption{font-size:8pt}"
    ".chart:not(.half) svg.wide{max-width:150mm}.chart.half{flex:1 1 45%}"
    "caption span,tr.group span{position:static;max-width:none}"
    "thead{break-after:avoid}tbody{break-inside:avoid}.list tbody{break-inside:auto}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n";
