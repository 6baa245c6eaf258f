/*
 * What can be asked of liblgs where no torch is loaded: most of it wrong, so that it has to be refused, by name, with
 * everything usable afterwards.
 *
 * Structs are on the heap, no byte longer than their struct_size says, so that valgrind sees what is read beyond.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

/* The path of a new file in the scratch folder; the caller frees it. */
static char *file(const char *name, const char *text)
{
    size_t size = strlen(subject.scratch) + strlen(name) + 2;
    char *path = allocate(size);
    FILE *out;
    snprintf(path, size, "%s/%s", subject.scratch, name);
    if (text) {
        out = open_file(path, "wb");
        if (!out || fputs(text, out) < 0 || fclose(out) != 0) {
            perror(path);
            exit(2);
        }
    }
    return path;
}

static void options_accepted(void)
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

}

static void options_refused(void)
{
    char *checked = SENTINEL;
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
    options_accepted();
}

/* Texts made to hurt are wrong texts like any other. */
static void options_hostile(void)
{
    static const char unfinished[] = {'[', '{', '"', '\\'};
    char *deep = allocate(100001);
    deep[100000] = 0;
    for (size_t i = 0; i < sizeof unfinished; i++) {
        memset(deep, unfinished[i], 100000);
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "options", lgs->options_check(deep, NULL, &error));
    }
    free(deep);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "", lgs->options_check("{\"eta\": 1e999}", NULL, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "", lgs->options_check("{\"\\u0000\\u001b[2J\": 1}", NULL, &error));
    options_accepted();
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
    lgs_engine_config_t *config = allocate(size);
    lgs_engine_t *engine = SENTINEL;
    lgs_error_t *error = NULL;
    lgs_status_t status;
    whole.struct_size = struct_size;
    whole.manifest = manifest;
    whole.torch_version = torch_version;
    memcpy(config, &whole, size);
    status = lgs->engine_open(config, &engine, &error);
    expect_refused(__FILE__, line, "engine_open", status, error, expected, words);
    expect(__FILE__, line, engine == SENTINEL, "engine_open: the out parameter was touched");
    expect(__FILE__, line, lgs->engine_open(config, &engine, NULL) == expected, "engine_open: error = NULL");
    free(config);
}

#define OPEN_REFUSED(manifest, torch_version, expected, words)                                                         \
    open_refused(__LINE__, sizeof(lgs_engine_config_t), sizeof(lgs_engine_config_t), manifest, torch_version, expected, words)

#define WITH_SIZE(struct_size, size, expected, words)                                                                  \
    open_refused(__LINE__, struct_size, size, manifest, "1.13.0", expected, words)

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

static void open_arguments(void)
{
    const char *manifest = subject.manifest;
    lgs_engine_config_t config = {sizeof config, manifest, "2.11.0", SENTINEL, no_log};
    lgs_engine_t *engine = SENTINEL;

    /* No torch in the process: with none stated, with one stated that has an engine (which then
     * finds no libtorch to link against), and with one that has none. */
    OPEN_REFUSED(manifest, NULL, LGS_ERROR_ENGINE, "no libtorch is loaded");
    OPEN_REFUSED(manifest, "2.11.0+cu130", LGS_ERROR_ENGINE, "libtorch");
    OPEN_REFUSED(manifest, "1.13.0", LGS_ERROR_ENGINE, "no engine for torch 1.13");
    OPEN_REFUSED(manifest, "1.13.0", LGS_ERROR_ENGINE, "torch 2.");
    OPEN_REFUSED(manifest, "1.13.0", LGS_ERROR_ENGINE, "README");
    OPEN_REFUSED(manifest, "newest", LGS_ERROR_INVALID_ARGUMENT, "torch_version");
    OPEN_REFUSED(manifest, "", LGS_ERROR_INVALID_ARGUMENT, "torch_version");
    OPEN_REFUSED(manifest, "2.\xff", LGS_ERROR_INVALID_ARGUMENT, "config.torch_version: expected UTF-8");
    OPEN_REFUSED(NULL, "2.11.0", LGS_ERROR_INVALID_ARGUMENT, "config.manifest");
    OPEN_REFUSED("\xff", "2.11.0", LGS_ERROR_INVALID_ARGUMENT, "config.manifest: expected UTF-8");
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "config", lgs->engine_open(NULL, &engine, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->engine_open(&config, NULL, &error));
    CHECK(lgs->engine_open(NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(engine == SENTINEL);
}

static void open_struct_sizes(void)
{
    const char *manifest = subject.manifest;
    lgs_engine_t *engine = SENTINEL;
    /* struct_size: what an older host has is enough, less or absurdly more is not. */
    WITH_SIZE(0, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(sizeof(size_t), sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(SIZE_MAX, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE((size_t)1 << 20, sizeof(size_t), LGS_ERROR_INVALID_ARGUMENT, "config.struct_size");
    WITH_SIZE(offsetof(lgs_engine_config_t, torch_version), offsetof(lgs_engine_config_t, torch_version),
              LGS_ERROR_ENGINE, "no libtorch is loaded");
    WITH_SIZE(offsetof(lgs_engine_config_t, context), offsetof(lgs_engine_config_t, context), LGS_ERROR_ENGINE,
              "no engine for torch 1.13");
    WITH_SIZE(offsetof(lgs_engine_config_t, log), offsetof(lgs_engine_config_t, log), LGS_ERROR_ENGINE,
              "no engine for torch 1.13");
    /* A field that the size cuts through is not read. */
    WITH_SIZE(offsetof(lgs_engine_config_t, torch_version) + 4, offsetof(lgs_engine_config_t, torch_version) + 4,
              LGS_ERROR_ENGINE, "no libtorch is loaded");
    /* A newer host's struct: what lies behind is not this library's. */
    {
        struct {
            lgs_engine_config_t known;
            void *later[3];
        } newer = {{sizeof newer, manifest, "1.13.0", NULL, NULL}, {SENTINEL, SENTINEL, SENTINEL}};
        REFUSED(LGS_ERROR_ENGINE, "no engine for torch 1.13", lgs->engine_open(&newer.known, &engine, &error));
    }
    CHECK(engine == SENTINEL);
}

static void open_manifests(void)
{
    char *path;
    /* Manifests that are not. Each message names the file. */
    path = file("missing.json", NULL);
    OPEN_REFUSED(path, "2.11.0", LGS_ERROR_MANIFEST, path);
    free(path);
    OPEN_REFUSED(subject.scratch, "2.11.0", LGS_ERROR_MANIFEST, subject.scratch);
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
}

static void open_engine_files(void)
{
    char *path, *binary;
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
    lgs_gaussian_t prior = {sizeof prior, SENTINEL, SENTINEL, SENTINEL, 1};
    lgs_tensor_t x = SENTINEL, result = SENTINEL, product = SENTINEL;
    char *info = SENTINEL;

    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->sample(NULL, NULL, &host, x, sigmas, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:", lgs->sample(NULL, NULL, &host, NULL, sigmas, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigmas", lgs->sample(NULL, NULL, &host, x, NULL, 2, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "result", lgs->sample(NULL, NULL, &host, x, sigmas, 2, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "z:",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, NULL, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:",
            lgs->reverse_noise(NULL, NULL, &host, NULL, 1.0, 0.5, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "result",
            lgs->reverse_noise(NULL, NULL, &host, x, 1.0, 0.5, x, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->jvp(NULL, NULL, &host, x, 1.0, x, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "v:", lgs->jvp(NULL, NULL, &host, x, 1.0, NULL, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "denoised", lgs->jvp(NULL, NULL, &host, x, 1.0, x, NULL, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "product", lgs->jvp(NULL, NULL, &host, x, 1.0, x, &result, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "z:",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, NULL, &result, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "denoised",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, NULL, &product, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "variances",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, NULL, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "components",
            lgs->principal_components(NULL, NULL, &host, x, 1.0, x, &result, &product, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->teleport(NULL, NULL, &prior, x, 2, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->tensor_clone(NULL, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->engine_info(NULL, &info, &error));
    CHECK(lgs->sample(NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->reverse_noise(NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->jvp(NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->principal_components(NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL) ==
          LGS_ERROR_INVALID_ARGUMENT);
    CHECK(lgs->teleport(NULL, NULL, NULL, NULL, 0, 0, NULL, NULL) == LGS_ERROR_INVALID_ARGUMENT);
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

static void table(void)
{
    lgs_get_api_t get_api = find_get_api(subject.library);
    CHECK(get_api(0) == NULL);
    CHECK(get_api(LGS_ABI_VERSION + 1) == NULL);
    CHECK(get_api(UINT32_MAX) == NULL);
    CHECK(lgs == get_api(LGS_ABI_VERSION));
    CHECK(lgs->struct_size >= sizeof *lgs && lgs->struct_size < 1 << 16);
    CHECK(lgs->abi_version == LGS_ABI_VERSION);
    CHECK(lgs->reserved == 0);
#define THERE(function) CHECK(lgs->function != NULL)
    THERE(version), THERE(manifest), THERE(layout), THERE(options_check), THERE(string_delete), THERE(engine_open);
    THERE(engine_info), THERE(engine_close), THERE(sample), THERE(reverse_noise), THERE(jvp), THERE(tensor_clone);
    THERE(tensor_delete), THERE(error_status), THERE(error_message), THERE(error_delete);
    THERE(principal_components), THERE(teleport);
}

/* That the library's own layout says `"name": {"size": size, `. */
static void has_size(const char *name, size_t size)
{
    char expected[96];
    snprintf(expected, sizeof expected, "\"%s\":{\"size\":%zu,", name, size);
    {
        const char *layout = lgs->layout();
        char *packed = allocate(strlen(layout) + 1), *end = packed;
        for (; *layout; layout++) {
            if (*layout != ' ' && *layout != '\n') {
                *end++ = *layout;
            }
        }
        *end = 0;
        expect(__FILE__, __LINE__, strstr(packed, expected) != NULL, "expected %s in the layout: %s", expected, packed);
        free(packed);
    }
}

static void texts(void)
{
    CHECK(lgs->version()[0] >= '0' && lgs->version()[0] <= '9');
    CHECK(lgs->version() == lgs->version());
    CHECK(lgs->manifest() == lgs->manifest());
    CHECK(lgs->layout() == lgs->layout());
    CHECK(strstr(lgs->manifest(), "\"LGSSampler\"") != NULL);
    has_size("lgs_progress", sizeof(lgs_progress_t));
    has_size("lgs_choice", sizeof(lgs_choice_t));
    has_size("lgs_host", sizeof(lgs_host_t));
    has_size("lgs_gaussian", sizeof(lgs_gaussian_t));
    has_size("lgs_engine_config", sizeof(lgs_engine_config_t));
    has_size("lgs_api", sizeof(lgs_api_t));
}

const named_check_t library_checks[] = {
    {"library.table", "lgs_get_api gives one static, whole table for this version and none for another.", table},
    {"library.texts", "Version, manifest and layout are static texts, and say what the header says.", texts},
    {"library.null", "What gives something back takes null and does nothing.", null_is_given_back},
    {"options.accepted", "Good options come back whole, and pass again unchanged.", options_accepted},
    {"options.refused", "Bad options are refused by name, and the out parameter is left alone.", options_refused},
    {"options.hostile", "Texts that are deep, endless or full of control characters are refused like others.",
     options_hostile},
    {"engine_open.arguments", "Bad arguments are refused by name, and the out parameter is left alone.", open_arguments},
    {"engine_open.struct_size", "An older, smaller config is taken, a newer one as well; no byte beyond its size is read.",
     open_struct_sizes},
    {"engine_open.manifests", "A malformed manifest is refused with LGS_ERROR_MANIFEST, by its name.", open_manifests},
    {"engine_open.engine_files", "An engine that is missing, altered or no library is refused with LGS_ERROR_ENGINE.",
     open_engine_files},
    {"calls.without_engine", "Null arguments are refused by name, in every function.", without_engine},
};
const size_t library_check_count = COUNT(library_checks);
