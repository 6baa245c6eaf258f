/*
 * A host in C that makes every call that needs no torch, most of them wrong, and expects to be told
 * so and to go on.
 *
 *     host LIBRARY ENGINES_JSON SCRATCH_FOLDER
 *
 * Nothing in this process has loaded libtorch. Structs are on the heap, no byte longer than their
 * struct_size says, so that valgrind sees what is read beyond.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "checks.h"

/* Never dereferenced by a library that checks its arguments in order. */
static int sentinel;
#define SENTINEL ((void *)&sentinel)

static const char *scratch;

/* The path of a new file in the scratch folder; the caller frees it. */
static char *file(const char *name, const char *text)
{
    size_t size = strlen(scratch) + strlen(name) + 2;
    char *path = malloc(size);
    FILE *out;
    if (!path) {
        exit(2);
    }
    snprintf(path, size, "%s/%s", scratch, name);
    if (text) {
        out = fopen(path, "wb");
        if (!out || fputs(text, out) < 0 || fclose(out) != 0) {
            perror(path);
            exit(2);
        }
    }
    return path;
}

static void options(void)
{
    char *checked = SENTINEL;

    ACCEPTED(lgs->options_check(NULL, NULL, &error));
    ACCEPTED(lgs->options_check("", NULL, &error));
    ACCEPTED(lgs->options_check("{}", &checked, &error));
    CHECK(checked != SENTINEL);
    CHECK(strstr(checked, "\"covariance\":\"lanczos\"") != NULL);
    CHECK(strstr(checked, "\"lanczos_steps\":3") != NULL);
    lgs->string_delete(checked);

    ACCEPTED(lgs->options_check("{\"lanczos_steps\": 7, \"process\": \"flow\", \"eta\": 0}", &checked, &error));
    CHECK(strstr(checked, "\"lanczos_steps\":7") != NULL);
    CHECK(strstr(checked, "\"process\":\"flow\"") != NULL);
    /* What was checked passes again and does not change. */
    {
        char *again = NULL;
        ACCEPTED(lgs->options_check(checked, &again, &error));
        CHECK(again && strcmp(again, checked) == 0);
        lgs->string_delete(again);
    }
    lgs->string_delete(checked);

    checked = SENTINEL;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "lanczos_steps", lgs->options_check("{\"lanczos_steps\": 0}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "-1", lgs->options_check("{\"lanczos_steps\": -1}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "lanczos_steps",
            lgs->options_check("{\"lanczos_steps\": 18446744073709551615}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "lanczos_steps", lgs->options_check("{\"lanczos_steps\": 2.5}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "extended", lgs->options_check("{\"extended\": \"yes\"}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "eta", lgs->options_check("{\"eta\": 1.5}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "eta", lgs->options_check("{\"eta\": null}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "diagonal",
            lgs->options_check("{\"covariance\": \"diagonals\"}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "no_such_option", lgs->options_check("{\"no_such_option\": 1}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "options", lgs->options_check("[]", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "options", lgs->options_check("{\"eta\": NaN}", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "options", lgs->options_check("{\"eta\": 1", &checked, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "UTF-8", lgs->options_check("{\"eta\": \"\xff\xfe\"}", &checked, &error));
    CHECK(checked == SENTINEL);

    /* Nobody wants the error or the result. */
    CHECK(lgs->options_check("{\"eta\": 2}", NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->options_check("{\"eta\": \"2\"}", &checked, NULL) == LGS_ERROR_INVALID_TYPE);
    CHECK(lgs->options_check("{\"eta\": 0.5}", NULL, NULL) == LGS_OK);
    CHECK(checked == SENTINEL);
    /* A nesting bomb is a wrong text like any other. */
    {
        char deep[100001];
        memset(deep, '[', sizeof deep - 1);
        deep[sizeof deep - 1] = 0;
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "options", lgs->options_check(deep, NULL, &error));
    }
}

static lgs_signal_t no_log(void *context, int32_t level, const char *message)
{
    (void)level, (void)message;
    CHECK(context == SENTINEL);
    return LGS_CONTINUE;
}

/* Opens with the first `size` bytes of a config, and nothing behind them. */
static void open_refused(int line, size_t struct_size, size_t size, const char *manifest, const char *torch_version,
                         lgs_status_t expected, const char *words)
{
    lgs_engine_config_t whole = {0, NULL, NULL, SENTINEL, no_log};
    lgs_engine_config_t *config = malloc(size);
    lgs_engine_t *engine = SENTINEL;
    lgs_error_t *error = NULL;
    lgs_status_t status;
    if (!config) {
        exit(2);
    }
    whole.struct_size = struct_size;
    whole.manifest = manifest;
    whole.torch_version = torch_version;
    memcpy(config, &whole, size);
    status = lgs->engine_open(config, &engine, &error);
    refused(line, "engine_open", status, error, expected, words);
    check(line, engine == SENTINEL, "engine_open: the out parameter was touched");
    check(line, lgs->engine_open(config, &engine, NULL) == expected, "engine_open: error = NULL");
    free(config);
}

#define OPEN_REFUSED(manifest, torch_version, expected, words)                                                         \
    open_refused(__LINE__, sizeof(lgs_engine_config_t), sizeof(lgs_engine_config_t), manifest, torch_version, expected, words)

#define WITH_SIZE(struct_size, size, expected, words)                                                                  \
    open_refused(__LINE__, struct_size, size, manifest, "9.9.0", expected, words)

/* An engine manifest with the same build for every platform. */
#define BUILD(platform, sha256)                                                                                        \
    "{\"torch\": \"2.11\", \"tch\": \"0.24\", \"platform\": \"" platform "\", \"file\": \"engine.bin\", \"sha256\": \"" \
    sha256 "\"}"
#define BUILDS(sha256)                                                                                                 \
    "{\"format\": 1, \"engines\": [" BUILD("linux-x86_64", sha256) ", " BUILD("linux-aarch64", sha256) ", "             \
    BUILD("windows-x86_64", sha256) ", " BUILD("macos-aarch64", sha256) ", " BUILD("macos-x86_64", sha256) "]}"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
/* SHA-256 of "not an engine\n". */
#define DIGEST "f5ec7da1d647d4b82298286a87d0f30e79205b6fc48d1928c34c713acf271147"

static void engines(const char *manifest)
{
    lgs_engine_config_t config = {sizeof config, manifest, "2.11.0", SENTINEL, no_log};
    lgs_engine_t *engine = SENTINEL;
    char *path, *binary;

    /* No torch in the process: with none stated, with one stated that has an engine (which then
     * finds no libtorch to link against), and with one that has none. */
    OPEN_REFUSED(manifest, NULL, LGS_ERROR_ENGINE, "no libtorch is loaded");
    OPEN_REFUSED(manifest, "2.11.0+cu130", LGS_ERROR_ENGINE, "libtorch");
    OPEN_REFUSED(manifest, "9.9.0", LGS_ERROR_ENGINE, "no engine for torch 9.9");
    OPEN_REFUSED(manifest, "9.9.0", LGS_ERROR_ENGINE, "torch 2.11 on ");
    OPEN_REFUSED(manifest, "9.9.0", LGS_ERROR_ENGINE, "README");
    OPEN_REFUSED(manifest, "newest", LGS_ERROR_INVALID_ARGUMENT, "torch_version");
    OPEN_REFUSED(manifest, "", LGS_ERROR_INVALID_ARGUMENT, "torch_version");
    OPEN_REFUSED(manifest, "2.\xff", LGS_ERROR_INVALID_ARGUMENT, "config.torch_version: expected UTF-8");
    OPEN_REFUSED(NULL, "2.11.0", LGS_ERROR_INVALID_ARGUMENT, "config.manifest");
    OPEN_REFUSED("\xff", "2.11.0", LGS_ERROR_INVALID_ARGUMENT, "config.manifest: expected UTF-8");
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "config", lgs->engine_open(NULL, &engine, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->engine_open(&config, NULL, &error));
    CHECK(lgs->engine_open(NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(engine == SENTINEL);

    /* struct_size: what an older host has is enough, less or absurdly more is not. */
    WITH_SIZE(0, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(sizeof(size_t), sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(SIZE_MAX, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE((size_t)1 << 20, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(offsetof(lgs_engine_config_t, torch_version), offsetof(lgs_engine_config_t, torch_version),
              LGS_ERROR_ENGINE, "no libtorch is loaded");
    WITH_SIZE(offsetof(lgs_engine_config_t, context), offsetof(lgs_engine_config_t, context), LGS_ERROR_ENGINE,
              "no engine for torch 9.9");
    WITH_SIZE(offsetof(lgs_engine_config_t, log), offsetof(lgs_engine_config_t, log), LGS_ERROR_ENGINE,
              "no engine for torch 9.9");
    /* A field that the size cuts through is not read. */
    WITH_SIZE(offsetof(lgs_engine_config_t, torch_version) + 4, offsetof(lgs_engine_config_t, torch_version) + 4,
              LGS_ERROR_ENGINE, "no libtorch is loaded");
    /* A newer host's struct: what lies behind is not this library's. */
    {
        struct {
            lgs_engine_config_t known;
            void *later[3];
        } newer = {{sizeof newer, manifest, "9.9.0", NULL, NULL}, {SENTINEL, SENTINEL, SENTINEL}};
        REFUSED(LGS_ERROR_ENGINE, "no engine for torch 9.9", lgs->engine_open(&newer.known, &engine, &error));
    }

    /* Manifests that are not. Each message names the file. */
    path = file("missing.json", NULL);
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_MANIFEST, path);
    free(path);
    OPEN_REFUSED(scratch, "2.11.0", LGS_ERROR_MANIFEST, scratch);
    {
        static const struct {
            const char *text, *words;
        } malformed[] = {
            {"", "malformed.json"},
            {"{", "malformed.json"},
            {"[]", "malformed.json"},
            {"{\"format\": 1}", "engines"},
            {"{\"format\": 2, \"engines\": []}", "format 1, got 2"},
            {"{\"format\": \"1\", \"engines\": []}", "malformed.json"},
            {"{\"format\": 1, \"engines\": [], \"extra\": 0}", "extra"},
            {"{\"format\": 1, \"engines\": [{\"torch\": \"2.11\"}]}", "tch"},
            {"{\"format\": 1, \"engines\": [{\"torch\": 2.11, \"tch\": \"0.24\"}]}", "malformed.json"},
        };
        for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
            path = file("malformed.json", malformed[i].text);
            OPEN_REFUSED(path, "2.11.0", LGS_ERROR_MANIFEST, malformed[i].words);
            free(path);
        }
    }
    /* Nothing built yet: the source tree's own manifest. */
    path = file("unbuilt.json", "{\"format\": 1, \"engines\": [{\"torch\": \"2.11\", \"tch\": \"0.24\"}]}");
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_ENGINE, "none");
    free(path);
    /* The engine is missing, altered, not a library. */
    path = file("engines.json", BUILDS(ZEROS));
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_ENGINE, "engine.bin");
    binary = file("engine.bin", "not an engine\n");
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_ENGINE, ZEROS);
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_ENGINE, DIGEST);
    free(path);
    path = file("engines.json", BUILDS(DIGEST));
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_ENGINE, "cannot be loaded");
    free(path);
    free(binary);
}

/* Calls that need an engine, without one. */
static void without_engine(void)
{
    lgs_host_t host = {sizeof host, SENTINEL, NULL, NULL, NULL, NULL, NULL, NULL};
    const double sigmas[] = {1.0, 0.0};
    lgs_tensor_t x = SENTINEL, result = SENTINEL, product = SENTINEL;
    char *info = SENTINEL;

    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->sample(NULL, NULL, &host, x, sigmas, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x", lgs->sample(NULL, NULL, &host, NULL, sigmas, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigmas", lgs->sample(NULL, NULL, &host, x, NULL, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "result", lgs->sample(NULL, NULL, &host, x, sigmas, 2, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "z",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, NULL, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x",
            lgs->reverse_noise(NULL, NULL, &host, NULL, 1.0, 0.5, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "result",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, x, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->jvp(NULL, NULL, &host, x, 1.0, x, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "v", lgs->jvp(NULL, NULL, &host, x, 1.0, NULL, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "denoised", lgs->jvp(NULL, NULL, &host, x, 1.0, x, NULL, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "product", lgs->jvp(NULL, NULL, &host, x, 1.0, x, &result, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "z",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, NULL, &result, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "denoised",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, NULL, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "variances",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, NULL, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "components",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, &product, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->tensor_clone(NULL, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->engine_info(NULL, &info, &error));
    CHECK(lgs->sample(NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->reverse_noise(NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->jvp(NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->principal_components(NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL) ==
          LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->tensor_clone(NULL, NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->engine_info(NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(result == SENTINEL && product == SENTINEL && info == SENTINEL);
}

static void null_is_given_back(void)
{
    lgs->string_delete(NULL);
    lgs->engine_close(NULL);
    lgs->tensor_delete(NULL, NULL);
    lgs->tensor_delete(NULL, SENTINEL);
    lgs->error_delete(NULL);
    CHECK(lgs->error_status(NULL) == LGS_OK);
    CHECK(lgs->error_message(NULL) != NULL && lgs->error_message(NULL)[0] == 0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s LIBRARY ENGINES_JSON SCRATCH_FOLDER\n", argv[0]);
        return 2;
    }
    scratch = argv[3];
    load(argv[1]);
    CHECK(lgs->version()[0] >= '0' && lgs->version()[0] <= '9');
    CHECK(lgs->version() == lgs->version());
    CHECK(strstr(lgs->manifest(), "\"LGSSampler\"") != NULL);
    CHECK(lgs->layout() == lgs->layout());
    null_is_given_back();
    options();
    engines(argv[2]);
    without_engine();
    /* After all that, what worked still works. */
    options();
    null_is_given_back();
    return outcome();
}
