/*
 * What the functions compute, against closed forms.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "gaussian.h"

#include <math.h>

static void information(void)
{
    lgs_engine_t *engine = open_engine(NULL), *again = open_engine(NULL);
    char *info = NULL;
    CHECK(engine != again);
    ACCEPTED(lgs->engine_info(engine, &info, &error));
    CHECK(info && info[0] == '{' && info[strlen(info) - 1] == '}');
    {
        static const char *const parts[] = {"torch", "cpu", "file", "interface", "libtorch", "backend"};
        for (size_t i = 0; i < COUNT(parts); i++) {
            char quoted[16];
            snprintf(quoted, sizeof quoted, "\"%s\"", parts[i]);
            CHECK(info && strstr(info, quoted));
        }
    }
    lgs->string_delete(info);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "info", lgs->engine_info(engine, NULL, &error));
    lgs->engine_close(engine);
    sample_once(again);
    lgs->engine_close(again);
    again = open_engine(NULL);
    sample_once(again);
    lgs->engine_close(again);
}

static void trajectory(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    sample_once(engine);
    lgs->engine_close(engine);
}

static void one_step(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = NULL, product = NULL, z;
    double values[N], expected[N], a, b;

    for (int i = 0; i < N; i++) {
        values[i] = noise_at(0, i);
        expected[i] = noise_root(sigmas[0], sigmas[1], i, &a, &b) * values[i];
    }
    z = tensor_of(values);
    ACCEPTED(lgs->reverse_noise(engine, exact, &host, x, sigmas[0], sigmas[1], z, &result, &error));
    CHECK_CLOSE(result, expected, 1e-8);
    CHECK(state.calls[DENOISE] == 1 + 4);
    lgs->tensor_delete(engine, result);
    result = NULL;

    for (int i = 0; i < N; i++) {
        expected[i] = lambda[i % D] / (lambda[i % D] + sigmas[0] * sigmas[0]);
        values[i] *= expected[i];
        expected[i] *= start[i];
    }
    ACCEPTED(lgs->jvp(engine, exact, &host, x, sigmas[0], z, &result, &product, &error));
    CHECK_CLOSE(result, expected, 1e-12);
    CHECK_CLOSE(product, values, 1e-8);
    CHECK_CLOSE(x, start, 0);
    lgs->tensor_delete(engine, result);
    result = NULL;
    lgs->tensor_delete(engine, product);
    product = NULL;

    /* All of the posterior's covariance, for there are as many products as coordinates. */
    lgs_tensor_t components = NULL;
    ACCEPTED(lgs->principal_components(engine, exact, &host, x, sigmas[0], z, &result, &product, &components, &error));
    CHECK_CLOSE(result, expected, 1e-12);
    for (int i = 0; i < N; i++) {
        double l = lambda[i % D], s = sigmas[0] * sigmas[0];
        expect(__FILE__, __LINE__, fabs(numbers(product)[i] - s * l / (l + s)) < 1e-6, "variance %d: got %.9g", i, numbers(product)[i]);
        /* The coordinates are the components, in this order. */
        for (int j = 0; j < D; j++) {
            CHECK(fabs(fabs(numbers(components)[i * D + j]) - (i % D == j)) < 1e-4);
        }
    }
    lgs->tensor_delete(engine, result);
    result = NULL;
    lgs->tensor_delete(engine, product);
    product = NULL;
    lgs->tensor_delete(engine, components);
    components = NULL;

    /* A second owner keeps the tensor alive when the first has let go. */
    ACCEPTED(lgs->tensor_clone(engine, x, &result, &error));
    lgs->tensor_delete(engine, x);
    CHECK_CLOSE(result, start, 0);
    lgs->tensor_delete(engine, result);
    result = NULL;
    lgs->tensor_delete(engine, z);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "tensor", lgs->tensor_clone(engine, NULL, &result, &error));
    lgs->tensor_delete(engine, NULL);
    lgs->engine_close(engine);
}

/* The Jacobian is diagonal: so the covariances of that kind come to the same, at another price. */
static void diagonals(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    static const char probed[] = "{\"covariance\": \"diagonal\", \"jvp\": \"finite-difference\", \"eta\": 0.7}";
    static const char learned[] =
        "{\"covariance\": \"diagonal-learned\", \"jvp\": \"finite-difference\", \"eta\": 0.7}";
    lgs_tensor_t x = tensor_of(start), full = NULL, result = NULL;
    state_t state = {0};
    lgs_host_t host = host_of(&state);

    ACCEPTED(lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &full, &error));
    CHECK(state.calls[DIAGONAL] == 0);
    for (int i = 0; i < 2; i++) {
        state_t other = {0};
        host = host_of(&other);
        ACCEPTED(lgs->sample(engine, i ? learned : probed, &host, x, sigmas, LEVELS, &result, &error));
        CHECK_CLOSE(result, numbers(full), 1e-6);
        CHECK(other.calls[DIAGONAL] == (i ? STEPS - 1 : 0) && other.calls[DENOISE] == STEPS + (i ? 0 : STEPS - 1));
        lgs->tensor_delete(engine, result);
    }
    lgs->tensor_delete(engine, full);

    result = SENTINEL;
    host.diagonal = NULL;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "diagonal",
            lgs->sample(engine, learned, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(result == SENTINEL);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* A new tensor of one or two axes. */
static lgs_tensor_t shaped(const double *values, int64_t rows, int64_t columns)
{
    const int64_t sizes[] = {rows, columns};
    lgs_tensor_t tensor = new_tensor(columns ? 2 : 1, sizes, NULL, DTYPE_FLOAT64);
    memcpy(numbers(tensor), values, (size_t)(rows * (columns ? columns : 1)) * sizeof *values);
    return tensor;
}

/* A prior that knows the first two coordinates and takes the others for one variance: the ODE in closed form. */
static void teleported(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    static const double mean[D] = {0.5, -1.0, 2.0, 0.0}, basis[D * 2] = {1, 0, 0, 1, 0, 0, 0, 0}, rest = 0.1;
    static const char flow[] = "{\"process\": \"flow\"}";
    lgs_tensor_t x = tensor_of(start), result = NULL;
    lgs_gaussian_t prior = {sizeof prior, shaped(mean, D, 0), shaped(basis, D, 2), shaped(lambda, 2, 0), rest};
    double expected[N];
    for (int process = 0; process < 2; process++) {
        double t = process ? 1.0 : 3.0, s = process ? 0.7 : 0.8;
        double alpha_t = process ? 1 - t : 1, alpha_s = process ? 1 - s : 1;
        for (int i = 0; i < N; i++) {
            double l = i % D < 2 ? lambda[i % D] : rest, m = mean[i % D];
            double gain = sqrt((alpha_s * alpha_s * l + s * s) / (alpha_t * alpha_t * l + t * t));
            expected[i] = alpha_s * m + gain * (start[i] - alpha_t * m);
        }
        ACCEPTED(lgs->teleport(engine, process ? flow : NULL, &prior, x, t, s, &result, &error));
        CHECK_CLOSE(result, expected, 1e-12);
        lgs->tensor_delete(engine, result);
    }

    result = SENTINEL;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma_next", lgs->teleport(engine, NULL, &prior, x, 1, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma_next", lgs->teleport(engine, NULL, &prior, x, 1, NAN, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "prior", lgs->teleport(engine, NULL, NULL, x, 2, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:", lgs->teleport(engine, NULL, &prior, NULL, 2, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "result", lgs->teleport(engine, NULL, &prior, x, 2, 1, NULL, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "engine", lgs->teleport(NULL, NULL, &prior, x, 2, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "nope",
            lgs->teleport(engine, "{\"nope\": 1}", &prior, x, 2, 1, &result, &error));
    for (int part = 0; part < 3; part++) {
        lgs_gaussian_t less = prior;
        *(part == 0 ? &less.mean : part == 1 ? &less.basis : &less.variances) = NULL;
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "prior.", lgs->teleport(engine, NULL, &less, x, 2, 1, &result, &error));
    }
    prior.struct_size = offsetof(lgs_gaussian_t, rest);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "prior.struct_size",
            lgs->teleport(engine, NULL, &prior, x, 2, 1, &result, &error));
    prior.struct_size = sizeof prior;
    prior.rest = -1;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "prior.rest", lgs->teleport(engine, NULL, &prior, x, 2, 1, &result, &error));
    CHECK(result == SENTINEL);
    delete_tensor(prior.mean);
    delete_tensor(prior.basis);
    delete_tensor(prior.variances);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* Noise of a rise, and of the falls after it. */
static lgs_signal_t rising_noise(void *context, double sigma, double sigma_next, lgs_tensor_t *z)
{
    state_t *state = context;
    double values[N];
    state->calls[NOISE]++;
    for (int i = 0; i < N; i++) {
        values[i] = sigma_next > sigma ? noise_at(1, i) : 0;
    }
    *z = tensor_of(values);
    return LGS_CONTINUE;
}

static void every_option(void)
{
    static const char *const options[] = {
        "{}",
        "{\"covariance\": \"isotropic\"}",
        "{\"covariance\": \"isotropic-large\"}",
        "{\"covariance\": \"isotropic-optimal\", \"jvp\": \"finite-difference\"}",
        "{\"covariance\": \"diagonal\", \"jvp\": \"central-difference\"}",
        "{\"covariance\": \"diagonal-learned\"}",
        "{\"covariance\": \"lanczos\", \"lanczos_steps\": 2, \"extended\": false}",
        "{\"lanczos_steps\": 4, \"tolerance\": 0.5, \"doubled_batch\": \"always\"}",
        "{\"lanczos_steps\": 2, \"other_steps\": \"multistep\", \"covariance_min_sigma\": 1}",
        "{\"solver\": \"secant\"}",
        "{\"solver\": \"secant\", \"eta\": 0}",
        "{\"solver\": \"secant\", \"eta\": 0.3, \"s_noise\": 0.5}",
    };
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start);
    for (size_t i = 0; i < COUNT(options); i++) {
        double first[N] = {0};
        for (int run = 0; run < 2; run++) {
            state_t state = {0};
            lgs_host_t host = host_of(&state);
            lgs_tensor_t result = NULL;
            ACCEPTED(lgs->sample(engine, options[i], &host, x, sigmas, LEVELS, &result, &error));
            expect(__FILE__, __LINE__, state.calls[PROGRESS] == STEPS, "%s: %d reports", options[i], state.calls[PROGRESS]);
            /* Equal noise, equal result, to the bit. What auto takes may go by time, but is one way on this host. */
            if (result && run == 0) {
                memcpy(first, numbers(result), sizeof first);
            } else if (result) {
                expect(__FILE__, __LINE__, memcmp(first, numbers(result), sizeof first) == 0,
                       "%s: two results of the same noise", options[i]);
            }
            for (int k = 0; result && k < N; k++) {
                expect(__FILE__, __LINE__, fabs(numbers(result)[k]) < 20, "%s: number %d: %g", options[i], k,
                       numbers(result)[k]);
            }
            lgs->tensor_delete(engine, result);
            CHECK_CLOSE(x, start, 0);
        }
    }
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* A level that rises is a draw of the forward process: x + sqrt(t^2 - s^2) z, and no evaluation. */
static void rising(void)
{
    static const double levels[] = {2.0, 0.8, 1.6, 0.4};
    static const char plain[] = "{\"covariance\": \"isotropic\", \"eta\": 0}";
    lgs_engine_t *engine = open_engine(NULL);
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = NULL;
    double expected[N];
    memcpy(expected, start, sizeof expected);
    for (int step = 0; step < 3; step++) {
        double s = levels[step], t = levels[step + 1];
        for (int i = 0; i < N; i++) {
            double j = lambda[i % D] / (lambda[i % D] + s * s);
            expected[i] = t > s ? expected[i] + sqrt(t * t - s * s) * noise_at(1, i)
                                : (t / s + (1 - t / s) * j) * expected[i];
        }
    }
    /* With eta 0 the two falls ask for no noise. The callback checks that levels fall: the rise has its own. */
    host.noise = rising_noise;
    host.progress = NULL;
    ACCEPTED(lgs->sample(engine, plain, &host, x, levels, 4, &result, &error));
    CHECK_CLOSE(result, expected, 1e-12);
    CHECK(state.calls[DENOISE] == 2);
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

const named_check_t engine_checks[] = {
    {"engine.info", "An engine says what it is, can be opened twice, and opened again.", information},
    {"sample.closed_form", "A trajectory, its callbacks and its counts are those of the closed form.", trajectory},
    {"sample.diagonal", "Diagonal covariances are the full one where J is diagonal.", diagonals},
    {"sample.every_option", "Every solver and covariance ends well, and gives equal bits for equal noise.", every_option},
    {"sample.rising_sigmas", "Where sigmas rise x is drawn from the forward process.", rising},
    {"calls.closed_form", "reverse_noise, jvp and principal_components are those of the closed form; clones own.", one_step},
    {"teleport.closed_form", "teleport is the Gaussian's probability-flow ODE.", teleported},
};
const size_t engine_check_count = COUNT(engine_checks);
