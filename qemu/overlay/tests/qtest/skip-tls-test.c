/*
 * Migration with capabilities skip-balloon and skip-unpopulated over TLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "../unit/crypto-tls-x509-helpers.h"
#include "skip-transport.h"

#define CLIENT_NAME "skip-balloon client"
#define SERVER_NAME "balloon.example.org"
#define PSK_NAME "balloon"
#define PSK PSK_NAME ":5c0ffee5ba1100a5\n"

/* ---- The credentials, made once, all in one folder ---- */

static const char *const files[] = {
    "key.pem", "ca-cert.pem", "server-key.pem", "server-cert.pem",
    "client-key.pem", "client-cert.pem", "keys.psk",
};

static char *folder;

static char *file(const char *name)
{
    return g_strdup_printf("%s/%s", folder, name);
}

static void make_certificates(void)
{
    g_autofree char *ca = file("ca-cert.pem");
    g_autofree char *server = file("server-cert.pem");
    g_autofree char *client = file("client-cert.pem");

    TLS_ROOT_REQ_SIMPLE(ca_req, ca);
    TLS_CERT_REQ_SIMPLE_SERVER(server_req, ca_req, server, SERVER_NAME, NULL);
    TLS_CERT_REQ_SIMPLE_CLIENT(client_req, ca_req, CLIENT_NAME, client);
    test_tls_deinit_cert(&client_req);
    test_tls_deinit_cert(&server_req);
    test_tls_deinit_cert(&ca_req);
}

static void make_credentials(void)
{
    g_autofree char *key = NULL, *server = NULL, *client = NULL, *psk = NULL;

    folder = g_dir_make_tmp("skip-tls-XXXXXX", NULL);
    g_assert_nonnull(folder);
    key = file("key.pem");
    server = file("server-key.pem");
    client = file("client-key.pem");
    psk = file("keys.psk");
    test_tls_init(key);
    g_assert_cmpint(link(key, server), ==, 0);
    g_assert_cmpint(link(key, client), ==, 0);
    make_certificates();
    g_assert_true(g_file_set_contents(psk, PSK, -1, NULL));
}

static void remove_credentials(void)
{
    int i;

    for (i = 1; i < ARRAY_SIZE(files); i++) {
        g_autofree char *path = file(files[i]);

        unlink(path);
    }
    {
        g_autofree char *key = file(files[0]);

        test_tls_cleanup(key);
    }
    g_assert_cmpint(rmdir(folder), ==, 0);
    g_free(folder);
}

/* Both sides prove who they are, and the destination cares who comes. */
static void use_x509(Transport *t)
{
    const char *add = "{ 'execute': 'object-add', 'arguments': {"
                      " 'qom-type': 'tls-creds-x509', 'id': 'tls0',"
                      " 'dir': %s, 'endpoint': %s, 'verify-peer': true } }";

    qtest_qmp_assert_success(t->p.source->qts, add, folder, "client");
    qtest_qmp_assert_success(t->p.dest->qts, add, folder, "server");
    qtest_qmp_assert_success(
        t->p.dest->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'authz-simple', 'id': 'authz0', 'identity': %s } }",
        "CN=" CLIENT_NAME);
    bg_set_parameters(t->p.source, "{ 'tls-creds': 'tls0',"
                      " 'tls-hostname': '" SERVER_NAME "' }");
    bg_set_parameters(t->p.dest, "{ 'tls-creds': 'tls0',"
                      " 'tls-authz': 'authz0' }");
}

static void use_psk(Transport *t)
{
    qtest_qmp_assert_success(
        t->p.source->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'tls-creds-psk', 'id': 'tls0', 'dir': %s,"
        " 'endpoint': 'client', 'username': %s } }", folder, PSK_NAME);
    qtest_qmp_assert_success(
        t->p.dest->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'tls-creds-psk', 'id': 'tls0', 'dir': %s,"
        " 'endpoint': 'server' } }", folder);
    bg_set_parameters(t->p.source, "{ 'tls-creds': 'tls0' }");
    bg_set_parameters(t->p.dest, "{ 'tls-creds': 'tls0' }");
}

/* ---- The tests ---- */

static const TransportCase cases[] = {
    { "x509/tcp", WIRE_TCP, .prepare = use_x509, .alone = true },
    { "x509/unix/return-path", WIRE_UNIX, CAPABILITIES("return-path"),
      .prepare = use_x509, .any_memory = true },
    { "x509/multifd", WIRE_TCP, MULTIFD, "{ 'multifd-channels': 2 }",
      .prepare = use_x509, .any_memory = true },
    { "x509/multifd/zstd", WIRE_TCP, MULTIFD,
      "{ 'multifd-compression': 'zstd' }", .prepare = use_x509, COMPRESSED,
      .any_memory = true },
    { "psk/tcp", WIRE_TCP, .prepare = use_psk, .any_memory = true },
    { "psk/fd", WIRE_FD, .prepare = use_psk, .any_memory = true },
    { "psk/multifd", WIRE_CHANNELS, MULTIFD, "{ 'multifd-channels': 4 }",
      .prepare = use_psk, .any_memory = true },
    { "psk/multifd/zero-page/none", WIRE_TCP, MULTIFD,
      "{ 'zero-page-detection': 'none' }", .prepare = use_psk },
};

/* Fails if the stream were not encrypted: who has no key, cannot read it. */
static void test_no_credentials(void)
{
    static const TransportCase c = { .wire = WIRE_UNIX };
    Transport *t = transport_start(&c, BG_ANON, BP_BOTH);
    g_autofree char *uri = g_strdup_printf("unix:%s", t->path);

    use_psk(t);
    bg_set_parameters(t->p.dest, "{ 'tls-creds': '' }");
    qtest_set_expected_status(t->p.dest->qts, EXIT_FAILURE);
    qtest_qmp_assert_success(
        t->p.dest->qts,
        "{ 'execute': 'migrate-incoming', 'arguments': { 'uri': %s } }", uri);
    qtest_qmp_assert_success(
        t->p.source->qts,
        "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    qtest_wait_qemu(t->p.dest->qts);
    transport_free(t);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    bp_init();
    make_credentials();
    transport_add_cases("skip-tls", cases, ARRAY_SIZE(cases));
    qtest_add_func("/skip-tls/no-credentials", test_no_credentials);
    ret = g_test_run();
    remove_credentials();
    bp_cleanup();
    return ret;
}
