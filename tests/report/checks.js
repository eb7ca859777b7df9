// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a test asks of the report in a browser. Each function returns its findings, a line each, "" if there are none.

"use strict";

// Rounding, and what letters stick out of their box.
const SLACK = 1.5;

const visible = e => e.getClientRects().length > 0 && getComputedStyle(e).visibility === "visible";
const all = (selector, root = document) => [...root.querySelectorAll(selector)].filter(visible);
const name = e => `${e.tagName.toLowerCase()} "${e.textContent.trim().slice(0, 40)}"`;
const inside = (a, b) => a.left >= b.left - SLACK && a.right <= b.right + SLACK &&
    a.top >= b.top - SLACK && a.bottom <= b.bottom + SLACK;

function textBox(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect();
}

function findCounts(charts, tables) {
    const found = [];
    const svgs = all("svg");
    if (svgs.length !== charts) found.push(`${svgs.length} charts, not ${charts}`);
    const boxes = all("table");
    if (boxes.length !== tables) found.push(`${boxes.length} tables, not ${tables}`);
    for (const e of [...svgs, ...boxes]) {
        const box = e.getBoundingClientRect();
        if (box.width < 150 || box.height < 40) found.push(`${e.id || name(e)}: ${box.width} x ${box.height}`);
    }
    for (const e of svgs) {
        if (!e.getAttribute("aria-label")) found.push(`${e.id}: no label`);
        if (all("text", e).length < 3) found.push(`${e.id}: hardly any text`);
    }
    return found.join("\n");
}

function findWide(width) {
    const root = document.documentElement;
    const found = [];
    if (root.scrollWidth > width) found.push(`the page is ${root.scrollWidth} wide`);
    for (const e of all("h1,h2,h3,p,li,pre,figcaption,.legend")) {
        const box = textBox(e);
        if (box.left < -SLACK || box.right > width + SLACK) found.push(`${name(e)} sticks out`);
    }
    return found.join("\n");
}

// On paper nobody scrolls.
function findCutCells(paper) {
    const found = [];
    for (const box of all(".box")) {
        const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
        const outer = box.getBoundingClientRect();
        const room = paper || !scrolls ? outer.width : box.scrollWidth;
        if (box.scrollWidth > room + SLACK) found.push(`table of ${box.scrollWidth} in ${room}`);
        for (const cell of all("th,td,caption", box)) {
            const text = textBox(cell);
            if (!text.width) continue;
            if (!inside(text, cell.getBoundingClientRect())) found.push(`${name(cell)} is cut off`);
            if (text.right - outer.left > room + SLACK) found.push(`${name(cell)} is out of reach`);
        }
    }
    return found.join("\n");
}

function findCutLabels() {
    const found = [];
    for (const svg of all("svg")) {
        const texts = all("text", svg).map(e => [e, e.getBoundingClientRect()]);
        texts.forEach(([e, box], i) => {
            if (!inside(box, svg.getBoundingClientRect())) found.push(`${svg.id}: ${name(e)} is cut off`);
            for (const [other, its] of texts.slice(i + 1)) {
                const x = Math.min(box.right, its.right) - Math.max(box.left, its.left);
                const y = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
                // Lines of text have some room above and below their letters.
                if (x > SLACK && y > 5) found.push(`${svg.id}: ${name(e)} and ${name(other)} overlap`);
            }
        });
    }
    return found.join("\n");
}

function rgb(colour) {
    const numbers = colour.match(/^rgba?\(([\d., ]+)\)$/);
    return numbers ? numbers[1].split(",").map(Number) : null;
}

function luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
}

function background(element) {
    for (let e = element; e; e = e.parentElement) {
        const colour = rgb(getComputedStyle(e).backgroundColor);
        if (colour && (colour.length < 4 || colour[3] === 1)) return colour;
    }
    return [255, 255, 255];
}

function findPale() {
    const found = new Set();
    const check = (e, colour, least) => {
        const ratio = rgb(colour) ? contrast(rgb(colour), background(e)) : 0;
        if (ratio < least) found.add(`${name(e)}: ${colour}, ${ratio.toFixed(2)}`);
    };
    for (const e of all("h1,h2,h3,p,li,pre,figcaption,caption,th,td,small")) check(e, getComputedStyle(e).color, 4.5);
    for (const e of all("svg:not(.sbmap) text")) check(e, getComputedStyle(e).fill, 4.5);
    for (const e of all(".dot")) check(e.parentElement, getComputedStyle(e).backgroundColor, 3);
    for (const e of all("svg:not(.sbmap) polygon")) check(e, getComputedStyle(e).fill, 3);
    for (const e of all("svg:not(.sbmap) use")) check(e, getComputedStyle(e).color, 3);
    for (const e of all("svg:not(.sbmap) path")) {
        // The grid is there to be overlooked.
        if (!e.style.stroke.includes("--line")) check(e, getComputedStyle(e).stroke, 3);
    }
    return [...found].join("\n");
}

function findIds() {
    const found = [];
    const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
    ids.forEach((id, i) => ids.indexOf(id) === i || found.push(`id ${id} twice`));
    for (const e of document.querySelectorAll("use")) {
        if (!document.querySelector(e.getAttribute("href"))) found.push(`${e.getAttribute("href")} is nowhere`);
    }
    return found.join("\n");
}
