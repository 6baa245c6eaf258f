/*
 * Prints, as JSON, how this compiler lays out the structs of lgs.h, beside what the library says of
 * itself: its layout, manifest and version. test_layout.py compares.
 *
 *     layout LIBRARY
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "library.h"

struct field {
    const char *name;
    size_t offset, size;
};

#define FIELD(type, name) {#name, offsetof(type, name), sizeof(((type *)NULL)->name)}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct field progress[] = {
    FIELD(lgs_progress_t, struct_size),
    FIELD(lgs_progress_t, step),
    FIELD(lgs_progress_t, steps),
    FIELD(lgs_progress_t, sigma),
    FIELD(lgs_progress_t, sigma_next),
    FIELD(lgs_progress_t, model_evaluations),
    FIELD(lgs_progress_t, jvps),
    FIELD(lgs_progress_t, jvp),
    FIELD(lgs_progress_t, reserved),
    FIELD(lgs_progress_t, lanczos_error),
    FIELD(lgs_progress_t, x),
    FIELD(lgs_progress_t, denoised),
    FIELD(lgs_progress_t, covariance_share),
    FIELD(lgs_progress_t, noise_variance),
    FIELD(lgs_progress_t, ritz_values),
    FIELD(lgs_progress_t, ritz_count),
};

static const struct field host[] = {
    FIELD(lgs_host_t, struct_size), FIELD(lgs_host_t, context),  FIELD(lgs_host_t, denoise),
    FIELD(lgs_host_t, noise),       FIELD(lgs_host_t, progress), FIELD(lgs_host_t, forward_ad),
    FIELD(lgs_host_t, choice),      FIELD(lgs_host_t, diagonal),
};

static const struct field choice[] = {
    FIELD(lgs_choice_t, struct_size),
    FIELD(lgs_choice_t, jvp),
    FIELD(lgs_choice_t, doubled_batch),
    FIELD(lgs_choice_t, coarse),
    FIELD(lgs_choice_t, reserved),
};

static const struct field engine_config[] = {
    FIELD(lgs_engine_config_t, struct_size), FIELD(lgs_engine_config_t, manifest),
    FIELD(lgs_engine_config_t, torch_version), FIELD(lgs_engine_config_t, context),
    FIELD(lgs_engine_config_t, log),
};

static const struct field api[] = {
    FIELD(lgs_api_t, struct_size),   FIELD(lgs_api_t, abi_version),   FIELD(lgs_api_t, reserved),
    FIELD(lgs_api_t, version),       FIELD(lgs_api_t, manifest),      FIELD(lgs_api_t, layout),
    FIELD(lgs_api_t, options_check), FIELD(lgs_api_t, string_delete), FIELD(lgs_api_t, engine_open),
    FIELD(lgs_api_t, engine_info),   FIELD(lgs_api_t, engine_close),  FIELD(lgs_api_t, sample),
    FIELD(lgs_api_t, reverse_noise), FIELD(lgs_api_t, jvp),           FIELD(lgs_api_t, tensor_clone),
    FIELD(lgs_api_t, tensor_delete), FIELD(lgs_api_t, error_status),  FIELD(lgs_api_t, error_message),
    FIELD(lgs_api_t, error_delete),  FIELD(lgs_api_t, principal_components),
};

static void print(const char *name, size_t size, const struct field *fields, size_t count, const char *end)
{
    printf("\"%s\": {\"size\": %zu, \"fields\": {", name, size);
    for (size_t i = 0; i < count; i++) {
        printf("%s\"%s\": [%zu, %zu]", i ? ", " : "", fields[i].name, fields[i].offset, fields[i].size);
    }
    printf("}}%s", end);
}

int main(int argc, char **argv)
{
    const lgs_api_t *lgs;
    if (argc != 2) {
        fprintf(stderr, "usage: %s LIBRARY\n", argv[0]);
        return 2;
    }
    lgs = find_get_api(argv[1])(LGS_ABI_VERSION);
    if (!lgs) {
        fprintf(stderr, "%s: no table for version %u of the interface\n", argv[1], LGS_ABI_VERSION);
        return 2;
    }
    printf("{\"c\": {");
    print("lgs_progress", sizeof(lgs_progress_t), progress, COUNT(progress), ", ");
    print("lgs_host", sizeof(lgs_host_t), host, COUNT(host), ", ");
    print("lgs_choice", sizeof(lgs_choice_t), choice, COUNT(choice), ", ");
    print("lgs_engine_config", sizeof(lgs_engine_config_t), engine_config, COUNT(engine_config), ", ");
    print("lgs_api", sizeof(lgs_api_t), api, COUNT(api), "}, ");
    printf("\"library\": %s, ", lgs->layout());
    printf("\"version\": \"%s\", ", lgs->version());
    printf("\"manifest\": %s}\n", lgs->manifest());
    return 0;
}
