/*
 * What every solver, covariance and function gives for the Gaussian, a line each, to be compared between systems.
 *
 *     trajectories LIBRARY ENGINES_JSON LIBTORCH_CPU
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "gaussian.h"

static void print(const char *what, const char *options, lgs_tensor_t tensor)
{
    printf("%s %s:", what, options);
    for (int64_t i = 0; i < count_of(tensor); i++) {
        printf(" %.17g", numbers(tensor)[i]);
    }
    printf("\n");
}

/* The end of the program, with the reason, where a call fails. */
static void done(lgs_status_t status, lgs_error_t **error, const char *options)
{
    if (status != LGS_OK) {
        fprintf(stderr, "%s: %s\n", options, lgs->error_message(*error));
        exit(1);
    }
}

static void all(const lgs_engine_t *engine, const char *options)
{
    lgs_tensor_t x = tensor_of(start), direction = tensor_of(start), out[3] = {NULL, NULL, NULL};
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_error_t *error = NULL;
    done(lgs->sample(engine, options, &host, x, sigmas, LEVELS, &out[0], &error), &error, options);
    print("sample", options, out[0]);
    lgs->tensor_delete(engine, out[0]);
    done(lgs->reverse_noise(engine, options, &host, x, sigmas[0], sigmas[1], x, &out[0], &error), &error, options);
    print("reverse_noise", options, out[0]);
    lgs->tensor_delete(engine, out[0]);
    done(lgs->jvp(engine, options, &host, x, sigmas[0], direction, &out[0], &out[1], &error), &error, options);
    for (int i = 0; i < 2; i++) {
        print("jvp", options, out[i]);
        lgs->tensor_delete(engine, out[i]);
    }
    /* Of Lanczos's options alone; the others are refused. */
    if (strstr(options, "lanczos_steps")) {
        done(lgs->principal_components(engine, options, &host, x, sigmas[0], direction, &out[0], &out[1], &out[2], &error),
             &error, options);
        for (int i = 0; i < 3; i++) {
            print("principal_components", options, out[i]);
            lgs->tensor_delete(engine, out[i]);
        }
    }
    lgs->tensor_delete(engine, x);
    lgs->tensor_delete(engine, direction);
}

/* Along a Gaussian's own path from three times the first level, and on from there. */
static void teleported(const lgs_engine_t *engine, const char *options)
{
    static const double mean[D] = {0.5, -1, 2, 0}, basis[D * 2] = {1, 0, 0, 1, 0, 0, 0, 0};
    static const int64_t axes[] = {D, 2}, variances[] = {2};
    lgs_gaussian_t prior = {sizeof prior, new_tensor(1, axes, NULL, DTYPE_FLOAT64),
                            new_tensor(2, axes, NULL, DTYPE_FLOAT64), new_tensor(1, variances, NULL, DTYPE_FLOAT64), 0.1};
    lgs_tensor_t x = tensor_of(start), there = NULL, result = NULL;
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_error_t *error = NULL;
    memcpy(numbers(prior.mean), mean, sizeof mean);
    memcpy(numbers(prior.basis), basis, sizeof basis);
    memcpy(numbers(prior.variances), lambda, 2 * sizeof lambda[0]);
    done(lgs->teleport(engine, options, &prior, x, 3 * sigmas[0], sigmas[0], &there, &error), &error, options);
    print("teleport", options, there);
    done(lgs->sample(engine, options, &host, there, sigmas, LEVELS, &result, &error), &error, options);
    print("sample after it", options, result);
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, there);
    lgs->tensor_delete(engine, x);
    delete_tensor(prior.mean);
    delete_tensor(prior.basis);
    delete_tensor(prior.variances);
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "{\"covariance\": \"isotropic\"}",
        "{\"covariance\": \"isotropic-large\"}",
        "{\"covariance\": \"isotropic-optimal\", \"jvp\": \"finite-difference\"}",
        "{\"covariance\": \"diagonal\", \"jvp\": \"central-difference\"}",
        "{\"covariance\": \"diagonal-learned\"}",
        "{\"covariance\": \"lanczos\", \"lanczos_steps\": 2, \"jvp\": \"finite-difference\", \"extended\": false}",
        "{\"covariance\": \"lanczos\", \"lanczos_steps\": 4, \"jvp\": \"finite-difference\"}",
        "{\"covariance\": \"lanczos\", \"lanczos_steps\": 4, \"jvp\": \"central-difference\", \"tolerance\": 0.5}",
        "{\"lanczos_steps\": 2, \"jvp\": \"central-difference\", \"other_steps\": \"multistep\", \"covariance_min_sigma\": 1}",
        "{\"solver\": \"secant\", \"eta\": 0}",
        "{\"solver\": \"secant\", \"eta\": 0.3, \"s_noise\": 0.5}",
    };
    lgs_engine_t *engine;
    program_arguments(&argc, &argv);
    if (argc != 4) {
        fprintf(stderr, "usage: %s LIBRARY ENGINES_JSON LIBTORCH_CPU\n", argv[0]);
        return 2;
    }
    subject.library = argv[1];
    subject.manifest = argv[2];
    lgs = find_get_api(subject.library)(LGS_ABI_VERSION);
    load_torch(argv[3]);
    engine = open_engine(NULL);
    for (size_t i = 0; i < COUNT(options); i++) {
        all(engine, options[i]);
        teleported(engine, options[i]);
    }
    lgs->engine_close(engine);
    return failures_so_far() ? 1 : 0;
}
