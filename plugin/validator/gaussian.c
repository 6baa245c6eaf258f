/*
 * The Gaussian host's callbacks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "gaussian.h"

#include <math.h>

const double lambda[D] = {4.0, 1.0, 0.25, 0.01};
const double start[N] = {3.0, -2.0, 1.0, 0.5, -1.0, 0.25, 4.0, -3.0};
const double sigmas[LEVELS] = {2.0, 0.8, 0.2, 0.0};
const char *const kind_names[KINDS] = {"denoise", "noise", "progress", "forward_ad", "diagonal", "log"};
const char exact[] = "{\"lanczos_steps\": 4, \"jvp\": \"finite-difference\", \"eta\": 0.7}";
const double exact_eta = 0.7;

double noise_at(int draw, int i)
{
    return sin(1.0 + 7.0 * draw + 1.7 * i) * 1.3;
}

lgs_tensor_t tensor_of(const double *values)
{
    const int64_t sizes[] = {BATCH, D};
    lgs_tensor_t tensor = new_tensor(2, sizes, NULL, DTYPE_FLOAT64);
    memcpy(numbers(tensor), values, N * sizeof *values);
    return tensor;
}

/* Counts a call; whether it is the odd one. */
static int is_odd(state_t *state, kind_t kind)
{
    int ended = state->odd_call && state->calls[state->odd] >= state->odd_call && state->answer != LGS_CONTINUE;
    /* Forward mode is closed, and the log may say so. */
    state->later += ended && kind != FORWARD_AD && kind != LOG;
    return ++state->calls[kind] == state->odd_call && state->odd == kind;
}

/* Answers otherwise: with or without a tensor. */
static lgs_signal_t odd_answer(state_t *state, lgs_tensor_t *out)
{
    if (state->odd_tensor) {
        *out = state->odd_tensor();
    } else if (state->stores) {
        /* What is stored all the same must not be lost. */
        const int64_t sizes[] = {BATCH, state->wide};
        *out = state->wide ? new_tensor(2, sizes, NULL, DTYPE_FLOAT64) : tensor_of(start);
    }
    return state->answer;
}

/* J at a tensor's points, times `x` where there is one. */
static lgs_tensor_t jacobian(const state_t *state, lgs_tensor_t x, lgs_tensor_t sigma, int times_x)
{
    const double *levels = numbers(sigma), *values = numbers(x);
    int64_t items = count_of(sigma), width = state->wide ? state->wide : D;
    const int64_t sizes[] = {items, width};
    lgs_tensor_t result = new_tensor(2, sizes, NULL, DTYPE_FLOAT64);
    double *out = numbers(result);
    for (int64_t i = 0; i < items * width; i++) {
        double l = lambda[i % D], s = levels[i / width];
        out[i] = l / (l + s * s) * (times_x ? values[i] : 1);
    }
    return result;
}

static lgs_signal_t denoise(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *denoised)
{
    state_t *state = context;
    int64_t width = state->wide ? state->wide : D;
    if (is_odd(state, DENOISE)) {
        return odd_answer(state, denoised);
    }
    CHECK(is_float64(x) && is_float64(sigma));
    CHECK(count_of(x) == count_of(sigma) * width && count_of(sigma) % BATCH == 0 && count_of(sigma) <= 3 * BATCH);
    *denoised = jacobian(state, x, sigma, 1);
    return LGS_CONTINUE;
}

static lgs_signal_t diagonal(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *result)
{
    state_t *state = context;
    if (is_odd(state, DIAGONAL)) {
        return odd_answer(state, result);
    }
    CHECK(count_of(sigma) == BATCH);
    *result = jacobian(state, x, sigma, 0);
    return LGS_CONTINUE;
}

static lgs_signal_t noise(void *context, double sigma, double sigma_next, lgs_tensor_t *z)
{
    state_t *state = context;
    int64_t width = state->wide ? state->wide : D;
    const int64_t sizes[] = {BATCH, width};
    CHECK(sigma > sigma_next && sigma_next > 0);
    if (is_odd(state, NOISE)) {
        return odd_answer(state, z);
    }
    *z = new_tensor(2, sizes, NULL, DTYPE_FLOAT64);
    for (int i = 0; i < BATCH * width; i++) {
        numbers(*z)[i] = noise_at(state->calls[NOISE], i);
    }
    return LGS_CONTINUE;
}

/* With as many products as J has eigenvalues these are the Ritz values, of every item. */
static void check_ritz_values(const lgs_progress_t *report)
{
    double s = report->sigma;
    CHECK((report->ritz_values == NULL) == (report->ritz_count == 0));
    if (report->ritz_count != N) {
        return;
    }
    CHECK(report->covariance_share > 0 && report->covariance_share < 1);
    for (int i = 0; i < N; i++) {
        double l = lambda[D - 1 - i % D], expected = l / (l + s * s), came = report->ritz_values[i];
        expect(__FILE__, __LINE__, fabs(came - expected) < 1e-6, "Ritz value %d: expected %.9g, got %.9g", i, expected,
               came);
    }
}

static lgs_signal_t progress(void *context, const lgs_progress_t *report)
{
    state_t *state = context;
    lgs_tensor_t unused = NULL;
    int odd = is_odd(state, PROGRESS);
    CHECK(report->struct_size == sizeof *report);
    CHECK(report->step == (uint64_t)state->calls[PROGRESS] - 1);
    CHECK(report->steps >= state->calls[PROGRESS] + 0ull);
    CHECK(report->reserved == 0);
    CHECK(report->sigma > report->sigma_next);
    CHECK(report->x && report->denoised);
    CHECK(report->jvp >= LGS_JVP_AUTO && report->jvp <= LGS_JVP_CENTRAL_DIFFERENCE);
    check_ritz_values(report);
    state->ritz_values += report->ritz_count;
    state->last = *report;
    return odd ? odd_answer(state, &unused) : LGS_CONTINUE;
}

lgs_signal_t log_record(void *context, int32_t level, const char *message)
{
    state_t *state = context;
    CHECK(level >= 1 && level <= 4);
    CHECK(message && message[0] != 0);
    return is_odd(state, LOG) ? state->answer : LGS_CONTINUE;
}

lgs_host_t host_of(state_t *state)
{
    lgs_host_t host = {sizeof host, state, denoise, noise, progress, NULL, NULL, diagonal};
    return host;
}

lgs_engine_t *open_engine(state_t *log)
{
    lgs_engine_config_t config = {sizeof config, subject.manifest, NULL, log, log ? log_record : NULL};
    lgs_engine_t *engine = NULL;
    ACCEPTED(lgs->engine_open(&config, &engine, &error));
    if (!engine) {
        exit(1);
    }
    return engine;
}

void expect_close(const char *file, int line, lgs_tensor_t tensor, const double *expected, double tolerance)
{
    int64_t count = tensor ? count_of(tensor) : -1;
    expect(file, line, count == N && is_float64(tensor), "expected a tensor of %d numbers of float64, got %lld", N,
           (long long)count);
    for (int i = 0; count == N && i < N; i++) {
        double came = numbers(tensor)[i];
        expect(file, line, fabs(came - expected[i]) <= tolerance * (1 + fabs(expected[i])),
               "number %d: expected %.15g, got %.15g", i, expected[i], came);
    }
}

double noise_root(double s, double t, int i, double *a, double *b)
{
    double v = t * t * (s * s - t * t) / (s * s), j = lambda[i % D] / (lambda[i % D] + s * s);
    *a = sqrt(t * t - exact_eta * exact_eta * v) / s;
    *b = 1 - *a;
    return sqrt(exact_eta * exact_eta * v + *b * *b * s * s * j);
}

void sample_once(const lgs_engine_t *engine)
{
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = NULL;
    double expected[N], a, b;

    memcpy(expected, start, sizeof expected);
    for (int step = 0; step < STEPS; step++) {
        double s = sigmas[step], t = sigmas[step + 1];
        for (int i = 0; i < N; i++) {
            double j = lambda[i % D] / (lambda[i % D] + s * s), r = t > 0 ? noise_root(s, t, i, &a, &b) : 0;
            expected[i] = t > 0 ? (a + b * j) * expected[i] + r * noise_at(step + 1, i) : j * expected[i];
        }
    }
    ACCEPTED(lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
    CHECK_CLOSE(result, expected, 1e-7);
    CHECK_CLOSE(x, start, 0);
    CHECK(state.calls[PROGRESS] == STEPS && state.calls[NOISE] == STEPS - 1 && state.calls[DIAGONAL] == 0);
    CHECK(state.last.steps == STEPS && state.last.sigma == sigmas[STEPS - 1] && state.last.sigma_next == 0);
    CHECK(state.last.jvp == LGS_JVP_FINITE_DIFFERENCE);
    CHECK(state.last.model_evaluations == (uint64_t)state.calls[DENOISE] && state.calls[DENOISE] == STEPS + 2 * 4);
    CHECK(state.last.jvps == 2 * 4);
    /* The last step adds no noise. */
    CHECK(state.ritz_values == 2 * N && state.last.ritz_count == 0 && isnan(state.last.covariance_share));
    if (result) {
        lgs->tensor_delete(engine, result);
    }
    lgs->tensor_delete(engine, x);
}
