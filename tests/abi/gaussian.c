/*
 * A whole host in C, written from lgs.h and PyTorch's C interface alone: samples from a Gaussian
 * with independent coordinates, of which everything is known in closed form, and compares.
 *
 *     gaussian LIBRARY ENGINES_JSON LIBTORCH_CPU
 *
 * x_0 ~ N(0, diag(lambda)), variance exploding: D(x) = J x with J = diag(lambda / (lambda + sigma^2)).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "checks.h"

#include <math.h>

enum { BATCH = 2, D = 4, N = BATCH * D };

static const double lambda[D] = {4.0, 1.0, 0.25, 0.01};

/* The part of PyTorch's C interface that a host needs, as its shim.h declares it. */
static int32_t (*empty_strided)(int64_t dimensions, const int64_t *sizes, const int64_t *strides, int32_t dtype,
                                int32_t device_type, int32_t device_index, lgs_tensor_t *tensor);
static int32_t (*get_data_ptr)(lgs_tensor_t tensor, void **data);
static int32_t (*get_numel)(lgs_tensor_t tensor, int64_t *count);
static int32_t (*delete_tensor)(lgs_tensor_t tensor);
static int32_t (*dtype_float64)(void);
static int32_t (*device_type_cpu)(void);

static void load_torch(const char *path)
{
    void *torch = open_library(path);
    find(torch, "aoti_torch_empty_strided", &empty_strided);
    find(torch, "aoti_torch_get_data_ptr", &get_data_ptr);
    find(torch, "aoti_torch_get_numel", &get_numel);
    find(torch, "aoti_torch_delete_tensor_object", &delete_tensor);
    find(torch, "aoti_torch_dtype_float64", &dtype_float64);
    find(torch, "aoti_torch_device_type_cpu", &device_type_cpu);
}

static double *data(lgs_tensor_t tensor)
{
    void *pointer = NULL;
    if (get_data_ptr(tensor, &pointer) != 0 || !pointer) {
        exit(2);
    }
    return pointer;
}

/* A new (BATCH, D) tensor. */
static lgs_tensor_t tensor_of(const double *values)
{
    const int64_t sizes[] = {BATCH, D}, strides[] = {D, 1};
    lgs_tensor_t tensor = NULL;
    if (empty_strided(2, sizes, strides, dtype_float64(), device_type_cpu(), 0, &tensor) != 0) {
        exit(2);
    }
    memcpy(data(tensor), values, N * sizeof *values);
    return tensor;
}

static void check_close(int line, lgs_tensor_t tensor, const double *expected, double tolerance)
{
    int64_t count = 0;
    check(line, get_numel(tensor, &count) == 0 && count == N, "expected %d numbers, got %lld", N, (long long)count);
    for (int i = 0; count == N && i < N; i++) {
        double came = data(tensor)[i];
        check(line, fabs(came - expected[i]) <= tolerance * (1 + fabs(expected[i])), "number %d: expected %.15g, got %.15g",
              i, expected[i], came);
    }
}

#define CHECK_CLOSE(tensor, expected, tolerance) check_close(__LINE__, tensor, expected, tolerance)

/* What the callbacks see of a call, and what they do in it. */
typedef struct state {
    int evaluations, noises, diagonals, reports, logs;
    /* The evaluation, the report or the log record at which to answer otherwise; 0: none. */
    int odd_evaluation, odd_noise, odd_diagonal, odd_report, odd_log;
    lgs_signal_t odd_answer;
    /* Over all reports. */
    uint64_t ritz_values;
    /* What the last report said. */
    lgs_progress_t last;
} state_t;

/* Standard normal enough for a comparison with a closed form. */
static double noise_at(int draw, int i)
{
    return sin(1.0 + 7.0 * draw + 1.7 * i) * 1.3;
}

static lgs_signal_t denoise(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *denoised)
{
    state_t *state = context;
    double values[N];
    if (++state->evaluations == state->odd_evaluation) {
        /* What is stored all the same must not be lost. */
        memcpy(values, data(x), sizeof values);
        *denoised = tensor_of(values);
        return state->odd_answer;
    }
    for (int i = 0; i < N; i++) {
        double s = data(sigma)[i / D];
        values[i] = lambda[i % D] / (lambda[i % D] + s * s) * data(x)[i];
    }
    *denoised = tensor_of(values);
    return LGS_CONTINUE;
}

static lgs_signal_t diagonal(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *result)
{
    state_t *state = context;
    double values[N];
    CHECK(x != NULL);
    for (int i = 0; i < N; i++) {
        double s = data(sigma)[i / D];
        values[i] = lambda[i % D] / (lambda[i % D] + s * s);
    }
    *result = tensor_of(values);
    return ++state->diagonals == state->odd_diagonal ? state->odd_answer : LGS_CONTINUE;
}

static lgs_signal_t noise(void *context, double sigma, double sigma_next, lgs_tensor_t *z)
{
    state_t *state = context;
    double values[N];
    CHECK(sigma > sigma_next && sigma_next > 0);
    if (++state->noises == state->odd_noise) {
        return state->odd_answer;
    }
    for (int i = 0; i < N; i++) {
        values[i] = noise_at(state->noises, i);
    }
    *z = tensor_of(values);
    return LGS_CONTINUE;
}

static void check_ritz_values(const lgs_progress_t *report)
{
    double s = report->sigma;
    CHECK((report->ritz_values == NULL) == (report->ritz_count == 0));
    /* With as many products as J has eigenvalues these are the Ritz values, of every item. */
    if (report->ritz_count != N) {
        return;
    }
    CHECK(report->covariance_share > 0 && report->covariance_share < 1);
    for (int i = 0; i < N; i++) {
        double expected = lambda[D - 1 - i % D] / (lambda[D - 1 - i % D] + s * s), came = report->ritz_values[i];
        check(__LINE__, fabs(came - expected) < 1e-6, "Ritz value %d: expected %.9g, got %.9g", i, expected, came);
    }
}

static lgs_signal_t progress(void *context, const lgs_progress_t *report)
{
    state_t *state = context;
    CHECK(report->struct_size == sizeof *report);
    CHECK(report->step == (uint64_t)state->reports);
    CHECK(report->reserved == 0);
    CHECK(report->x && report->denoised);
    CHECK(report->jvp == LGS_JVP_FINITE_DIFFERENCE);
    check_ritz_values(report);
    state->ritz_values += report->ritz_count;
    state->last = *report;
    return ++state->reports == state->odd_report ? state->odd_answer : LGS_CONTINUE;
}

static lgs_signal_t log_record(void *context, int32_t level, const char *message)
{
    state_t *state = context;
    CHECK(level >= 1 && level <= 4);
    CHECK(message[0] != 0);
    return ++state->logs == state->odd_log ? state->odd_answer : LGS_CONTINUE;
}

static const double start[N] = {3.0, -2.0, 1.0, 0.5, -1.0, 0.25, 4.0, -3.0};
static const double sigmas[] = {2.0, 0.8, 0.2, 0.0};
enum { LEVELS = 4, STEPS = LEVELS - 1 };
static const char exact[] = "{\"lanczos_steps\": 4, \"jvp\": \"finite-difference\", \"eta\": 0.7}";
static const double eta = 0.7;

/* Sigma^(1/2) z in the coordinate i, and the factors of x and D(x) in the mean. */
static double root(double s, double t, int i, double *a, double *b)
{
    double v = t * t * (s * s - t * t) / (s * s), j = lambda[i % D] / (lambda[i % D] + s * s);
    *a = sqrt(t * t - eta * eta * v) / s;
    *b = 1 - *a;
    return sqrt(eta * eta * v + *b * *b * s * s * j);
}

static lgs_host_t host_of(state_t *state)
{
    lgs_host_t host = {sizeof host, state, denoise, noise, progress, NULL, NULL, diagonal};
    return host;
}

static void one_step(const lgs_engine_t *engine)
{
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = NULL, product = NULL, z;
    double values[N], expected[N], a, b;

    for (int i = 0; i < N; i++) {
        values[i] = noise_at(0, i);
        expected[i] = root(sigmas[0], sigmas[1], i, &a, &b) * values[i];
    }
    z = tensor_of(values);
    ACCEPTED(lgs->reverse_noise(engine, exact, &host, x, sigmas[0], sigmas[1], z, &result, &error));
    CHECK_CLOSE(result, expected, 1e-8);
    CHECK(state.evaluations == 1 + 4);
    lgs->tensor_delete(engine, result);

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
    lgs->tensor_delete(engine, product);

    /* All of the posterior's covariance, for there are as many products as coordinates. */
    lgs_tensor_t components = NULL;
    ACCEPTED(lgs->principal_components(engine, exact, &host, x, sigmas[0], z, &result, &product, &components, &error));
    CHECK_CLOSE(result, expected, 1e-12);
    for (int i = 0; i < N; i++) {
        double l = lambda[i % D], s = sigmas[0] * sigmas[0];
        check(__LINE__, fabs(data(product)[i] - s * l / (l + s)) < 1e-6, "variance %d: got %.9g", i, data(product)[i]);
        /* The coordinates are the components, in this order. */
        for (int j = 0; j < D; j++) {
            CHECK(fabs(fabs(data(components)[i * D + j]) - (i % D == j)) < 1e-4);
        }
    }
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, product);
    lgs->tensor_delete(engine, components);

    /* A second owner keeps the tensor alive when the first has let go. */
    ACCEPTED(lgs->tensor_clone(engine, x, &result, &error));
    lgs->tensor_delete(engine, x);
    CHECK_CLOSE(result, start, 0);
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, z);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "tensor", lgs->tensor_clone(engine, NULL, &result, &error));
    lgs->tensor_delete(engine, NULL);
}

static void trajectory(const lgs_engine_t *engine)
{
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = NULL;
    double expected[N], a, b;

    memcpy(expected, start, sizeof expected);
    for (int step = 0; step < STEPS; step++) {
        double s = sigmas[step], t = sigmas[step + 1];
        for (int i = 0; i < N; i++) {
            double j = lambda[i % D] / (lambda[i % D] + s * s), r = root(s, t, i, &a, &b);
            expected[i] = t > 0 ? (a + b * j) * expected[i] + r * noise_at(step + 1, i) : j * expected[i];
        }
    }
    ACCEPTED(lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
    CHECK_CLOSE(result, expected, 1e-7);
    CHECK(state.reports == STEPS && state.noises == STEPS - 1);
    CHECK(state.last.steps == STEPS && state.last.sigma == sigmas[STEPS - 1] && state.last.sigma_next == 0);
    CHECK(state.last.model_evaluations == (uint64_t)state.evaluations && state.evaluations == STEPS + 2 * 4);
    CHECK(state.last.jvps == 2 * 4);
    /* The last step adds no noise. */
    CHECK(state.ritz_values == 2 * N && state.last.ritz_count == 0 && isnan(state.last.covariance_share));
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, x);
}

/* The Jacobian is diagonal: so the covariances of that kind come to the same, at another price. */
static void diagonals(const lgs_engine_t *engine)
{
    static const char probed[] = "{\"covariance\": \"diagonal\", \"jvp\": \"finite-difference\", \"eta\": 0.7}";
    static const char learned[] = 
        "{\"covariance\": \"diagonal-learned\", \"jvp\": \"finite-difference\", \"eta\": 0.7}";
    lgs_tensor_t x = tensor_of(start), full = NULL, result = NULL;
    state_t state = {0};
    lgs_host_t host = host_of(&state);

    ACCEPTED(lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &full, &error));
    CHECK(state.diagonals == 0);
    for (int i = 0; i < 2; i++) {
        state_t other = {0};
        host = host_of(&other);
        ACCEPTED(lgs->sample(engine, i ? learned : probed, &host, x, sigmas, LEVELS, &result, &error));
        CHECK_CLOSE(result, data(full), 1e-6);
        CHECK(other.diagonals == (i ? STEPS - 1 : 0) && other.evaluations == STEPS + (i ? 0 : STEPS - 1));
        lgs->tensor_delete(engine, result);
    }
    lgs->tensor_delete(engine, full);

    result = &checks;
    host.diagonal = NULL;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "diagonal",
            lgs->sample(engine, learned, &host, x, sigmas, LEVELS, &result, &error));
    state_t odd = {.odd_diagonal = 2, .odd_answer = LGS_STOP};
    host = host_of(&odd);
    REFUSED(LGS_ERROR_HOST_STOPPED, "", lgs->sample(engine, learned, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(odd.diagonals == 2);
    lgs->tensor_delete(engine, x);
}

/* What "auto" finds out is written where the host keeps it, and is not looked for again. */
static void remembered(const lgs_engine_t *engine)
{
    static const char automatic[] = "{\"lanczos_steps\": 4, \"eta\": 0.7}";
    const int least = STEPS + 2 * 4;
    lgs_choice_t choice = {sizeof choice, LGS_JVP_AUTO, 0, 0, 0};
    lgs_tensor_t x = tensor_of(start), result = NULL;

    for (int run = 0; run < 2; run++) {
        state_t state = {0};
        lgs_host_t host = host_of(&state);
        host.choice = &choice;
        ACCEPTED(lgs->sample(engine, automatic, &host, x, sigmas, LEVELS, &result, &error));
        lgs->tensor_delete(engine, result);
        /* This host has no forward mode, and its model answers for N numbers whatever it is asked. */
        CHECK(choice.jvp == LGS_JVP_FINITE_DIFFERENCE && choice.doubled_batch != 0 && !choice.coarse);
        CHECK(run == 0 ? state.evaluations > least : state.evaluations == least);
    }

    /* A host of an earlier version has fewer fields: those it has are kept, and what lies behind them is not
     * written to. */
    for (size_t size = offsetof(lgs_choice_t, doubled_batch); size <= sizeof choice; size += sizeof(int32_t)) {
        state_t state = {0};
        lgs_host_t host = host_of(&state);
        lgs_choice_t smaller = {size, LGS_JVP_AUTO, 0, -7, -7};
        if (size <= offsetof(lgs_choice_t, doubled_batch)) {
            smaller.doubled_batch = -7;
        }
        if (size > offsetof(lgs_choice_t, coarse)) {
            smaller.coarse = 0;
        }
        host.choice = &smaller;
        ACCEPTED(lgs->sample(engine, automatic, &host, x, sigmas, LEVELS, &result, &error));
        lgs->tensor_delete(engine, result);
        CHECK(smaller.struct_size == size && smaller.jvp == LGS_JVP_FINITE_DIFFERENCE);
        CHECK(size <= offsetof(lgs_choice_t, doubled_batch) ? smaller.doubled_batch == -7 : smaller.doubled_batch > 0);
        CHECK(size <= offsetof(lgs_choice_t, coarse) ? smaller.coarse == -7 : smaller.coarse == 0);
        CHECK(smaller.reserved == -7);
    }

    state_t state = {0};
    lgs_host_t host = host_of(&state);
    choice.struct_size = offsetof(lgs_choice_t, jvp);
    host.choice = &choice;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.choice.struct_size",
            lgs->sample(engine, automatic, &host, x, sigmas, LEVELS, &result, &error));
    lgs->tensor_delete(engine, x);
}

/* Every callback fails and stops once; each time the call says which and leaves `result` alone. */
static void interruptions(const lgs_engine_t *engine)
{
    static const struct {
        lgs_signal_t answer;
        lgs_status_t status;
    } cases[] = {{LGS_STOP, LGS_ERROR_HOST_STOPPED}, {LGS_FAIL, LGS_ERROR_HOST_FAILED}, {77, LGS_ERROR_HOST_FAILED}};
    lgs_tensor_t x = tensor_of(start), result = &checks;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int which = 0; which < 3; which++) {
            state_t state = {0};
            lgs_host_t host = host_of(&state);
            *(which == 0 ? &state.odd_evaluation : which == 1 ? &state.odd_noise : &state.odd_report) = 2;
            state.odd_answer = cases[i].answer;
            REFUSED(cases[i].status, "callback",
                    lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
            /* And nothing is asked afterwards. */
            CHECK(which != 0 || state.evaluations == 2);
            CHECK(which != 1 || state.noises == 2);
            CHECK(which != 2 || state.reports == 2);
        }
    }
    CHECK(result == (lgs_tensor_t)&checks);
    lgs->tensor_delete(engine, x);
    trajectory(engine);
    diagonals(engine);
}

/* Structs of an older host, and callbacks that are missing. */
static void hosts(const lgs_engine_t *engine)
{
    state_t state = {0};
    lgs_host_t host = host_of(&state), *older = malloc(offsetof(lgs_host_t, progress));
    lgs_tensor_t x = tensor_of(start), result = NULL;
    if (!older) {
        exit(2);
    }
    host.struct_size = offsetof(lgs_host_t, progress);
    memcpy(older, &host, host.struct_size);
    ACCEPTED(lgs->sample(engine, exact, older, x, sigmas, LEVELS, &result, &error));
    CHECK(state.reports == 0 && state.noises == STEPS - 1);
    lgs->tensor_delete(engine, result);
    result = &checks;
    older->struct_size = offsetof(lgs_host_t, noise);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.noise",
            lgs->sample(engine, exact, older, x, sigmas, LEVELS, &result, &error));
    older->struct_size = offsetof(lgs_host_t, denoise);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.struct_size",
            lgs->sample(engine, exact, older, x, sigmas, LEVELS, &result, &error));
    older->struct_size = (size_t)1 << 40;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.struct_size",
            lgs->sample(engine, exact, older, x, sigmas, LEVELS, &result, &error));
    free(older);

    host = host_of(&state);
    host.denoise = NULL;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.denoise",
            lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host", lgs->sample(engine, exact, NULL, x, sigmas, LEVELS, &result, &error));
    host = host_of(&state);
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigmas", lgs->sample(engine, exact, &host, x, sigmas, 0, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "eta",
            lgs->sample(engine, "{\"eta\": -1}", &host, x, sigmas, LEVELS, &result, &error));
    CHECK(result == (lgs_tensor_t)&checks);
    lgs->tensor_delete(engine, x);
}

/* A log callback can end a call, and the opening of an engine. */
static void logging(const char *manifest)
{
    state_t state = {0}, call = {0};
    lgs_engine_config_t config = {sizeof config, manifest, NULL, &state, log_record};
    lgs_engine_t *engine = (lgs_engine_t *)&checks;
    lgs_host_t host = host_of(&call);
    lgs_tensor_t x = tensor_of(start), result = &checks;

    state.odd_log = 1;
    state.odd_answer = LGS_STOP;
    REFUSED(LGS_ERROR_HOST_STOPPED, "log callback", lgs->engine_open(&config, &engine, &error));
    state.logs = 0;
    state.odd_answer = LGS_FAIL;
    REFUSED(LGS_ERROR_HOST_FAILED, "log callback", lgs->engine_open(&config, &engine, &error));
    CHECK(engine == (lgs_engine_t *)&checks);
    state.odd_log = 0;
    ACCEPTED(lgs->engine_open(&config, &engine, &error));

    /* "auto" says that it takes finite differences, for this host has no forward mode. */
    state.logs = 0;
    state.odd_log = 1;
    state.odd_answer = LGS_STOP;
    REFUSED(LGS_ERROR_HOST_STOPPED, "", lgs->sample(engine, NULL, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(state.logs >= 1 && call.reports <= 1);
    CHECK(result == (lgs_tensor_t)&checks);
    state.odd_log = 0;
    call = (state_t){0};
    ACCEPTED(lgs->sample(engine, NULL, &host, x, sigmas, LEVELS, &result, &error));
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* A new tensor of one or two axes. */
static lgs_tensor_t shaped(const double *values, int64_t rows, int64_t columns)
{
    const int64_t sizes[] = {rows, columns}, strides[] = {columns ? columns : 1, 1};
    lgs_tensor_t tensor = NULL;
    if (empty_strided(columns ? 2 : 1, sizes, strides, dtype_float64(), device_type_cpu(), 0, &tensor) != 0) {
        exit(2);
    }
    memcpy(data(tensor), values, (size_t)(rows * (columns ? columns : 1)) * sizeof *values);
    return tensor;
}

/* A prior that knows the first two coordinates and takes the others for one variance: the ODE in closed form. */
static void teleported(const lgs_engine_t *engine)
{
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

    result = &checks;
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma_next", lgs->teleport(engine, NULL, &prior, x, 1, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma_next", lgs->teleport(engine, NULL, &prior, x, 1, NAN, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "prior", lgs->teleport(engine, NULL, NULL, x, 2, 1, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x", lgs->teleport(engine, NULL, &prior, NULL, 2, 1, &result, &error));
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
    CHECK(result == &checks);
    CHECK(delete_tensor(prior.mean) == 0 && delete_tensor(prior.basis) == 0 && delete_tensor(prior.variances) == 0);
    lgs->tensor_delete(engine, x);
}

int main(int argc, char **argv)
{
    lgs_engine_config_t config = {sizeof config, NULL, NULL, NULL, NULL};
    lgs_engine_t *engine = NULL;
    char *info = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: %s LIBRARY ENGINES_JSON LIBTORCH_CPU\n", argv[0]);
        return 2;
    }
    load_torch(argv[3]);
    load(argv[1]);
    config.manifest = argv[2];
    ACCEPTED(lgs->engine_open(&config, &engine, &error));
    if (!engine) {
        return outcome();
    }
    ACCEPTED(lgs->engine_info(engine, &info, &error));
    CHECK(info && strstr(info, "\"torch\"") && strstr(info, "\"cpu\""));
    lgs->string_delete(info);
    one_step(engine);
    trajectory(engine);
    hosts(engine);
    remembered(engine);
    interruptions(engine);
    logging(argv[2]);
    teleported(engine);
    lgs->engine_close(engine);
    /* A tensor that C made is C's to delete too. */
    CHECK(delete_tensor(tensor_of(start)) == 0);
    return outcome();
}
