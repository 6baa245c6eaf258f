/*
 * Loads a library as a host loads libtorch, and prints what engine_open says then.
 *
 *     open_engine LIBLGS ENGINES_JSON LIBTORCH_CPU
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "library.h"

int main(int argc, char **argv)
{
    lgs_engine_config_t config = {sizeof config, NULL, NULL, NULL, NULL};
    lgs_engine_t *engine = NULL;
    lgs_error_t *error = NULL;
    const lgs_api_t *lgs;
    lgs_status_t status;
    program_arguments(&argc, &argv);
    if (argc != 4) {
        fprintf(stderr, "usage: %s LIBLGS ENGINES_JSON LIBTORCH_CPU\n", argv[0]);
        return 2;
    }
    lgs = find_get_api(argv[1])(LGS_ABI_VERSION);
    open_library(argv[3]);
    config.manifest = argv[2];
    status = lgs->engine_open(&config, &engine, &error);
    printf("%d %s\n", (int)status, lgs->error_message(error));
    lgs->error_delete(error);
    lgs->engine_close(engine);
    return 0;
}
