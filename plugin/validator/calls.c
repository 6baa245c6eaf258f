/*
 * What a host may do to a call: fail and stop in every position, be of another version, return and pass what cannot be
 * used.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "gaussian.h"

#include <math.h>

/* A call of a function of the table, with the Gaussian host; the result is put where `out` points. */
typedef lgs_status_t (*call_t)(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                               lgs_tensor_t *out, lgs_error_t **error);

static lgs_status_t call_sample(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                                lgs_tensor_t *out, lgs_error_t **error)
{
    return lgs->sample(engine, options, host, x, sigmas, LEVELS, out, error);
}

static lgs_status_t call_reverse_noise(const lgs_engine_t *engine, const char *options, const lgs_host_t *host,
                                       lgs_tensor_t x, lgs_tensor_t *out, lgs_error_t **error)
{
    return lgs->reverse_noise(engine, options, host, x, sigmas[0], sigmas[1], x, out, error);
}

static lgs_status_t call_jvp(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                             lgs_tensor_t *out, lgs_error_t **error)
{
    return lgs->jvp(engine, options, host, x, sigmas[0], x, &out[0], &out[1], error);
}

static lgs_status_t call_components(const lgs_engine_t *engine, const char *options, const lgs_host_t *host,
                                    lgs_tensor_t x, lgs_tensor_t *out, lgs_error_t **error)
{
    return lgs->principal_components(engine, options, host, x, sigmas[0], x, &out[0], &out[1], &out[2], error);
}

enum { OUTS = 3 };
static const struct {
    const char *name;
    call_t call;
    int outs;
} functions[] = {
    {"sample", call_sample, 1},
    {"reverse_noise", call_reverse_noise, 1},
    {"jvp", call_jvp, 2},
    {"principal_components", call_components, 3},
};

/* Ways through a call in which every answer counts: no other way is tried after a failure. */
static const char *const ways[] = {
    "{\"lanczos_steps\": 4, \"jvp\": \"finite-difference\", \"doubled_batch\": \"never\"}",
    "{\"lanczos_steps\": 2, \"jvp\": \"central-difference\", \"doubled_batch\": \"never\", \"tolerance\": 0.01}",
    "{\"solver\": \"secant\", \"eta\": 0.3, \"jvp\": \"finite-difference\", \"doubled_batch\": \"never\"}",
    "{\"covariance\": \"diagonal-learned\", \"jvp\": \"finite-difference\", \"doubled_batch\": \"never\"}",
    "{\"covariance\": \"diagonal\", \"probes\": 2, \"jvp\": \"finite-difference\", \"doubled_batch\": \"never\"}",
};

/* The same call undisturbed: what is compared with afterwards. Gives whether the function takes these options. */
static int undisturbed(const lgs_engine_t *engine, size_t f, const char *options, lgs_tensor_t x, state_t *state,
                       double *values)
{
    lgs_tensor_t out[OUTS] = {NULL, NULL, NULL};
    lgs_host_t host = host_of(state);
    lgs_error_t *error = NULL;
    lgs_status_t status = functions[f].call(engine, options, &host, x, out, &error);
    if (status == LGS_ERROR_INVALID_ARGUMENT && f > 0 && strstr(options, "secant")) {
        lgs->error_delete(error);
        return 0; /* This function has nothing to do with this solver. */
    }
    expect(__FILE__, __LINE__, status == LGS_OK, "%s %s: %s", functions[f].name, options, lgs->error_message(error));
    lgs->error_delete(error);
    if (out[0]) {
        CHECK(count_of(out[0]) == N);
        memcpy(values, numbers(out[0]), N * sizeof *values);
    }
    for (int i = 0; i < functions[f].outs; i++) {
        lgs->tensor_delete(engine, out[i]);
    }
    return status == LGS_OK;
}

/* Runs each function in each way once for every call of every callback that it makes, which then answers otherwise. */
static void in_every_position(lgs_signal_t answer, int stores, lgs_status_t expected)
{
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start);
    int positions = 0;
    for (size_t f = 0; f < COUNT(functions); f++) {
        for (size_t w = 0; w < COUNT(ways); w++) {
            state_t whole = {0};
            double before[N] = {0}, after[N] = {0};
            if (!undisturbed(engine, f, ways[w], x, &whole, before)) {
                continue;
            }
            for (kind_t kind = DENOISE; kind <= DIAGONAL; kind++) {
                for (int at = 1; at <= whole.calls[kind]; at++) {
                    state_t state = {.odd = kind, .odd_call = at, .answer = answer, .stores = stores};
                    lgs_host_t host = host_of(&state);
                    lgs_tensor_t out[OUTS] = {SENTINEL, SENTINEL, SENTINEL};
                    lgs_error_t *error = NULL;
                    lgs_status_t status = functions[f].call(engine, ways[w], &host, x, out, &error);
                    positions++;
                    expect(__FILE__, __LINE__, status == expected, "%s, call %d of %s, %s: expected status %d, got %d: %s",
                           functions[f].name, at, kind_names[kind], ways[w], (int)expected, (int)status,
                           lgs->error_message(error));
                    expect(__FILE__, __LINE__, error != NULL && lgs->error_status(error) == status,
                           "%s, call %d of %s: expected an error object of status %d", functions[f].name, at,
                           kind_names[kind], (int)status);
                    expect(__FILE__, __LINE__, strstr(lgs->error_message(error), "callback") != NULL,
                           "expected the word callback in: %s", lgs->error_message(error));
                    expect(__FILE__, __LINE__, state.later == 0, "%s, call %d of %s: %d callbacks afterwards",
                           functions[f].name, at, kind_names[kind], state.later);
                    for (int i = 0; i < OUTS; i++) {
                        expect(__FILE__, __LINE__, out[i] == SENTINEL, "%s, call %d of %s: an out parameter was touched",
                               functions[f].name, at, kind_names[kind]);
                    }
                    lgs->error_delete(error);
                }
            }
            /* Everything is usable, and unchanged. */
            {
                state_t again = {0};
                undisturbed(engine, f, ways[w], x, &again, after);
                expect(__FILE__, __LINE__, memcmp(before, after, sizeof before) == 0, "%s %s: another result afterwards",
                       functions[f].name, ways[w]);
            }
        }
    }
    CHECK(positions > 50);
    CHECK_CLOSE(x, start, 0);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

static void stops(void)
{
    in_every_position(LGS_STOP, 0, LGS_ERROR_HOST_STOPPED);
}

static void stops_with_a_tensor(void)
{
    in_every_position(LGS_STOP, 1, LGS_ERROR_HOST_STOPPED);
}

static void fails(void)
{
    in_every_position(LGS_FAIL, 0, LGS_ERROR_HOST_FAILED);
}

static void fails_with_a_tensor(void)
{
    in_every_position(LGS_FAIL, 1, LGS_ERROR_HOST_FAILED);
}

static void answers_nonsense(void)
{
    in_every_position(77, 1, LGS_ERROR_HOST_FAILED);
    in_every_position(-1, 0, LGS_ERROR_HOST_FAILED);
}

/* A callback that dies in a foreign-function layer: it says that all is well, and has stored nothing. */
static void stores_nothing(void)
{
    static const kind_t storing[] = {DENOISE, NOISE, DIAGONAL};
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start), result = SENTINEL;
    for (size_t k = 0; k < COUNT(storing); k++) {
        for (int at = 1; at <= 2; at++) {
            state_t state = {.odd = storing[k], .odd_call = at, .answer = LGS_CONTINUE};
            lgs_host_t host = host_of(&state);
            REFUSED(LGS_ERROR_HOST_FAILED, "callback",
                    lgs->sample(engine, ways[storing[k] == DIAGONAL ? 3 : 0], &host, x, sigmas, LEVELS, &result, &error));
            CHECK(state.calls[storing[k]] == at);
        }
    }
    CHECK(result == SENTINEL);
    sample_once(engine);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* What is refused at a doubled batch is asked for one point at a time. */
static void another_way(void)
{
    static const char doubled[] = "{\"lanczos_steps\": 4, \"jvp\": \"finite-difference\", \"doubled_batch\": \"always\"}";
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start), plain = NULL, result = NULL;
    state_t whole = {0}, failing = {.odd = DENOISE, .odd_call = 1, .answer = LGS_FAIL};
    state_t stopping = {.odd = DENOISE, .odd_call = 1, .answer = LGS_STOP};
    lgs_host_t host = host_of(&whole);
    ACCEPTED(lgs->sample(engine, ways[0], &host, x, sigmas, LEVELS, &plain, &error));
    host = host_of(&failing);
    ACCEPTED(lgs->sample(engine, doubled, &host, x, sigmas, LEVELS, &result, &error));
    if (plain && result) {
        CHECK_CLOSE(result, numbers(plain), 1e-9);
    }
    CHECK(failing.later > 0);
    lgs->tensor_delete(engine, plain);
    lgs->tensor_delete(engine, result);
    result = SENTINEL;
    host = host_of(&stopping);
    REFUSED(LGS_ERROR_HOST_STOPPED, "callback",
            lgs->sample(engine, doubled, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(stopping.calls[DENOISE] == 1 && result == SENTINEL);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* What may be null is not called. */
static void optional(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start), result = NULL;
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    host.progress = NULL;
    host.diagonal = NULL;
    ACCEPTED(lgs->sample(engine, NULL, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(count_of(result) == N && state.calls[PROGRESS] == 0 && state.calls[NOISE] == STEPS - 1);
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* Forward mode of a host that refuses it, each time. */
static lgs_signal_t no_forward_ad(void *context, int32_t open)
{
    state_t *state = context;
    state->calls[FORWARD_AD]++;
    state->forward_unpaired += open != 1; /* What was refused is not open, and not closed. */
    return state->answer;
}

static void forward_mode(void)
{
    static const char forward[] = "{\"jvp\": \"forward\"}", automatic[] = "{\"jvp\": \"auto\", \"lanczos_steps\": 4}";
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start), result = SENTINEL;
    state_t state = {.answer = LGS_FAIL};
    lgs_host_t host = host_of(&state);
    REFUSED(LGS_ERROR_MODEL_OUTPUT, "no forward-mode", lgs->sample(engine, forward, &host, x, sigmas, LEVELS, &result, &error));
    host.forward_ad = no_forward_ad;
    REFUSED(LGS_ERROR_HOST_FAILED, "callback", lgs->sample(engine, forward, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(state.calls[FORWARD_AD] == 1 && result == SENTINEL);
    result = NULL;
    memset(state.calls, 0, sizeof state.calls);
    ACCEPTED(lgs->sample(engine, automatic, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(state.calls[FORWARD_AD] >= 1 && state.last.jvp == LGS_JVP_FINITE_DIFFERENCE);
    lgs->tensor_delete(engine, result);
    memset(state.calls, 0, sizeof state.calls);
    state.answer = LGS_STOP;
    result = SENTINEL;
    REFUSED(LGS_ERROR_HOST_STOPPED, "callback",
            lgs->sample(engine, automatic, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(state.calls[FORWARD_AD] == 1 && result == SENTINEL);
    CHECK(state.forward_unpaired == 0);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* Every size of lgs_host: what an older host has is read, what a newer one has besides is left alone. */
static void host_sizes(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start);
    const size_t step = sizeof(void *), least = offsetof(lgs_host_t, denoise) + step;
    for (size_t size = 0; size <= sizeof(lgs_host_t) + 8 * step; size += step / 2) {
        state_t state = {0};
        lgs_host_t whole = host_of(&state);
        size_t known = size < sizeof whole ? size : sizeof whole, length = size < sizeof(size_t) ? sizeof(size_t) : size;
        /* On the heap, and no byte longer. What is not known of it points nowhere. */
        lgs_host_t *host = allocate(length);
        lgs_tensor_t noise = SENTINEL, result = SENTINEL;
        lgs_error_t *error = NULL;
        lgs_status_t status;
        memset(host, 0xA5, length);
        whole.choice = NULL;
        memcpy(host, &whole, known > sizeof(size_t) ? known : sizeof(size_t));
        memcpy(host, &size, sizeof size);
        status = lgs->jvp(engine, ways[0], host, x, sigmas[0], x, &noise, &result, &error);
        if (size < least) {
            expect(__FILE__, __LINE__, status == LGS_ERROR_INVALID_ARGUMENT && noise == SENTINEL,
                   "struct_size %zu: expected it to be refused, got status %d", size, (int)status);
        } else {
            expect(__FILE__, __LINE__, status == LGS_OK, "struct_size %zu: expected it to be taken, got: %s", size,
                   lgs->error_message(error));
            lgs->tensor_delete(engine, status == LGS_OK ? noise : NULL);
            lgs->tensor_delete(engine, status == LGS_OK ? result : NULL);
        }
        lgs->error_delete(error);
        /* A trajectory needs noise besides; reports, a choice and a diagonal are for those who have them. */
        if (size >= offsetof(lgs_host_t, noise) + step) {
            result = NULL;
            ACCEPTED(lgs->sample(engine, exact, host, x, sigmas, LEVELS, &result, &error));
            CHECK(state.calls[PROGRESS] == (size >= offsetof(lgs_host_t, progress) + step ? STEPS : 0));
            lgs->tensor_delete(engine, result);
        } else if (size >= least) {
            REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.noise",
                    lgs->sample(engine, exact, host, x, sigmas, LEVELS, &result, &error));
        }
        free(host);
    }
    {
        state_t state = {0};
        lgs_host_t host = host_of(&state);
        lgs_tensor_t result = SENTINEL;
        static const size_t absurd[] = {(size_t)1 << 20, (size_t)1 << 40, SIZE_MAX};
        for (size_t i = 0; i < COUNT(absurd); i++) {
            host.struct_size = absurd[i];
            REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.struct_size",
                    lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
        }
        host = host_of(&state);
        host.denoise = NULL;
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host.denoise",
                lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "host",
                lgs->sample(engine, exact, NULL, x, sigmas, LEVELS, &result, &error));
        host = host_of(&state);
        host.diagonal = NULL;
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "diagonal",
                lgs->sample(engine, ways[3], &host, x, sigmas, LEVELS, &result, &error));
        CHECK(state.calls[DENOISE] == 0 && result == SENTINEL);
    }
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* What "auto" finds out is written where the host keeps it, and is not looked for again. */
static void remembered(void)
{
    lgs_engine_t *engine = open_engine(NULL);
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
        /* This host has no forward mode. */
        CHECK(choice.jvp == LGS_JVP_FINITE_DIFFERENCE && choice.doubled_batch != 0 && !choice.coarse);
        /* The way is looked for once. */
        CHECK(run == 0 ? state.calls[DENOISE] > least : state.calls[DENOISE] <= least);
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
    lgs->engine_close(engine);
}

/* A log callback can end a call, and the opening of an engine. */
static void logging(void)
{
    state_t state = {0}, call = {0};
    lgs_engine_config_t config = {sizeof config, subject.manifest, NULL, &state, log_record};
    lgs_engine_t *engine = SENTINEL;
    lgs_host_t host = host_of(&call);
    lgs_tensor_t x = tensor_of(start), result = SENTINEL;

    state.odd = LOG, state.odd_call = 1;
    state.answer = LGS_STOP;
    REFUSED(LGS_ERROR_HOST_STOPPED, "log callback", lgs->engine_open(&config, &engine, &error));
    state.calls[LOG] = 0;
    state.answer = LGS_FAIL;
    REFUSED(LGS_ERROR_HOST_FAILED, "log callback", lgs->engine_open(&config, &engine, &error));
    CHECK(engine == SENTINEL);
    state.odd_call = 0;
    ACCEPTED(lgs->engine_open(&config, &engine, &error));

    /* "auto" says that it takes finite differences, for this host has no forward mode. */
    state.calls[LOG] = 0;
    state.odd = LOG, state.odd_call = 1;
    state.answer = LGS_STOP;
    REFUSED(LGS_ERROR_HOST_STOPPED, "", lgs->sample(engine, NULL, &host, x, sigmas, LEVELS, &result, &error));
    CHECK(state.calls[LOG] >= 1 && call.calls[PROGRESS] <= 1);
    CHECK(result == SENTINEL);
    state.odd_call = 0;
    call = (state_t){0};
    ACCEPTED(lgs->sample(engine, NULL, &host, x, sigmas, LEVELS, &result, &error));
    lgs->tensor_delete(engine, result);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* The odd tensors that callbacks return. */
static lgs_tensor_t another_shape(void)
{
    const int64_t sizes[] = {BATCH, D + 1};
    return new_tensor(2, sizes, NULL, DTYPE_FLOAT64);
}

static lgs_tensor_t another_axis(void)
{
    const int64_t sizes[] = {1, BATCH, D};
    return new_tensor(3, sizes, NULL, DTYPE_FLOAT64);
}

static lgs_tensor_t of_no_axes(void)
{
    return new_tensor(0, NULL, NULL, DTYPE_FLOAT64);
}

static lgs_tensor_t of_dtype(dtype_t dtype)
{
    const int64_t sizes[] = {BATCH, D};
    return new_tensor(2, sizes, NULL, dtype);
}

static lgs_tensor_t of_float32(void)
{
    return of_dtype(DTYPE_FLOAT32);
}

static lgs_tensor_t of_int64(void)
{
    return of_dtype(DTYPE_INT64);
}

static lgs_tensor_t of_complex64(void)
{
    return of_dtype(DTYPE_COMPLEX64);
}

static lgs_tensor_t with_nan(void)
{
    double values[N] = {0};
    values[N - 1] = NAN;
    return tensor_of(values);
}

static lgs_tensor_t with_infinity(void)
{
    double values[N] = {0};
    values[0] = -INFINITY;
    return tensor_of(values);
}

static void odd_outputs(void)
{
    static const struct {
        const char *name;
        lgs_tensor_t (*make)(void);
    } tensors[] = {
        {"another shape", another_shape}, {"another axis", another_axis}, {"no axes", of_no_axes},
        {"int64", of_int64},              {"complex64", of_complex64},    {"NaN", with_nan},
        {"infinity", with_infinity},      {"float32", of_float32},
    };
    static const kind_t storing[] = {DENOISE, NOISE, DIAGONAL};
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = tensor_of(start), result = SENTINEL;
    for (size_t t = 0; t < COUNT(tensors); t++) {
        for (size_t k = 0; k < COUNT(storing); k++) {
            /* Noise and a diagonal may come in another floating dtype; the model's answer may not. */
            int taken = tensors[t].make == of_float32 && storing[k] != DENOISE;
            for (int at = 1; at <= 2 && !taken; at++) {
                const char *way = ways[storing[k] == DIAGONAL ? 3 : 0];
                state_t state = {
                    .odd = storing[k], .odd_call = at, .answer = LGS_CONTINUE, .odd_tensor = tensors[t].make};
                lgs_host_t host = host_of(&state);
                lgs_error_t *error = NULL;
                lgs_status_t status = lgs->sample(engine, way, &host, x, sigmas, LEVELS, &result, &error);
                const char *message = lgs->error_message(error);
                expect(__FILE__, __LINE__, status == LGS_ERROR_MODEL_OUTPUT && strstr(message, "step"),
                       "%s, call %d, returns %s: expected status %d and which step it was, got %d: %s",
                       kind_names[storing[k]], at, tensors[t].name, LGS_ERROR_MODEL_OUTPUT, (int)status, message);
                lgs->error_delete(error);
                /* Whether numbers are finite is asked once a step, for the device is waited for. */
                expect(__FILE__, __LINE__, state.calls[storing[k]] <= at + (t < 5 || t > 6 ? 0 : 4), "%s, call %d, returns %s: found at call %d",
                       kind_names[storing[k]], at, tensors[t].name, state.calls[storing[k]]);
            }
        }
    }
    CHECK(result == SENTINEL);
    sample_once(engine);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

/* x of every dtype and of odd forms: what is floating point is taken, anything else is refused by name. */
static void odd_x(void)
{
    static const double mean[D] = {0.5, -1.0, 2.0, 0.0}, variances[1] = {1.0}, basis[D] = {1, 0, 0, 0};
    const int64_t sizes[] = {BATCH, D}, transposed[] = {1, BATCH}, repeated[] = {0, 1};
    const int64_t item[] = {D}, column[] = {D, 1}, one[] = {1}, no_items[] = {0, D}, no_numbers[] = {BATCH, 0};
    lgs_engine_t *engine = open_engine(NULL);
    lgs_gaussian_t prior = {sizeof prior, NULL, NULL, NULL, 0.5};
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t result = SENTINEL;

    prior.mean = new_tensor(1, item, NULL, DTYPE_FLOAT64);
    prior.basis = new_tensor(2, column, NULL, DTYPE_FLOAT64);
    prior.variances = new_tensor(1, one, NULL, DTYPE_FLOAT64);
    memcpy(numbers(prior.mean), mean, sizeof mean);
    memcpy(numbers(prior.basis), basis, sizeof basis);
    memcpy(numbers(prior.variances), variances, sizeof variances);

    /* A view with other strides is read as what it is: as columns, and one item for all of the batch. */
    for (int t = 0; t < 2; t++) {
        double values[N];
        lgs_tensor_t strided = new_tensor(2, sizes, t ? repeated : transposed, DTYPE_FLOAT64), dense, expected = NULL;
        result = NULL;
        for (int i = 0; i < N; i++) {
            values[i] = start[t ? i % D : i];
            numbers(strided)[t ? i % D : i % D * BATCH + i / D] = values[i];
        }
        dense = tensor_of(values);
        ACCEPTED(lgs->teleport(engine, NULL, &prior, dense, 2, 1, &expected, &error));
        ACCEPTED(lgs->teleport(engine, NULL, &prior, strided, 2, 1, &result, &error));
        if (expected && result) {
            const double *came = numbers(result);
            /* The result may have x's strides, but for the repeated ones. */
            for (int i = 0; i < N; i++) {
                double first = came[i], second = t ? first : came[i % D * BATCH + i / D], e = numbers(expected)[i];
                CHECK(fabs(first - e) < 1e-12 || fabs(second - e) < 1e-12);
            }
        }
        lgs->tensor_delete(engine, strided);
        lgs->tensor_delete(engine, dense);
        lgs->tensor_delete(engine, expected);
        lgs->tensor_delete(engine, result);
    }
    for (int dtype = 0; dtype < DTYPES; dtype++) {
        lgs_tensor_t x = new_tensor(2, sizes, NULL, dtype);
        if (dtype <= DTYPE_BFLOAT16) {
            result = NULL;
            ACCEPTED(lgs->teleport(engine, NULL, &prior, x, 2, 1, &result, &error));
            CHECK(count_of(result) == N && is_float64(result) == (dtype == DTYPE_FLOAT64));
            lgs->tensor_delete(engine, result);
        } else {
            result = SENTINEL;
            REFUSED(LGS_ERROR_INVALID_TYPE, "x:", lgs->teleport(engine, NULL, &prior, x, 2, 1, &result, &error));
            REFUSED(LGS_ERROR_INVALID_TYPE, "x:",
                    lgs->sample(engine, exact, &host, x, sigmas, LEVELS, &result, &error));
            CHECK(result == SENTINEL);
        }
        lgs->tensor_delete(engine, x);
    }
    /* Of no axes, no items, no numbers. An empty batch is a batch. */
    {
        lgs_tensor_t scalar = new_tensor(0, NULL, NULL, DTYPE_FLOAT64), nothing = new_tensor(2, no_items, NULL, DTYPE_FLOAT64);
        lgs_tensor_t flat = new_tensor(2, no_numbers, NULL, DTYPE_FLOAT64);
        result = SENTINEL;
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:",
                lgs->sample(engine, exact, &host, scalar, sigmas, LEVELS, &result, &error));
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:",
                lgs->sample(engine, exact, &host, nothing, sigmas, LEVELS, &result, &error));
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "x:",
                lgs->sample(engine, exact, &host, flat, sigmas, LEVELS, &result, &error));
        CHECK(result == SENTINEL);
        lgs->tensor_delete(engine, scalar);
        lgs->tensor_delete(engine, nothing);
        lgs->tensor_delete(engine, flat);
    }
    CHECK(state.calls[DENOISE] == 0);
    delete_tensor(prior.mean);
    delete_tensor(prior.basis);
    delete_tensor(prior.variances);
    sample_once(engine);
    lgs->engine_close(engine);
}

/* Noise levels that are none, and too few. */
static void odd_numbers(void)
{
    static const double bad[][3] = {
        {NAN, 1, 0},      {INFINITY, 1, 0}, {2, NAN, 0},  {2, -1, 0},   {-2, -3, 0}, {2, 0, 0},
        {2, 0, 1},        {0, 0, 0},        {1e300, 1, 0}, {2, 1, 1.5}, {2, 1, -0.5},
    };
    lgs_engine_t *engine = open_engine(NULL);
    state_t state = {0};
    lgs_host_t host = host_of(&state);
    lgs_tensor_t x = tensor_of(start), result = SENTINEL, product = SENTINEL;
    for (size_t i = 0; i < COUNT(bad); i++) {
        int before = state.calls[DENOISE];
        lgs_error_t *error = NULL;
        lgs_status_t status = lgs->sample(engine, exact, &host, x, bad[i], 3, &result, &error);
        expect(__FILE__, __LINE__, status == LGS_ERROR_INVALID_ARGUMENT && error != NULL,
               "sigmas %g, %g, %g: expected them to be refused, got status %d: %s", bad[i][0], bad[i][1], bad[i][2],
               (int)status, lgs->error_message(error));
        expect(__FILE__, __LINE__, strstr(lgs->error_message(error), "sigma") != NULL,
               "expected the word sigma in: %s", lgs->error_message(error));
        lgs->error_delete(error);
        /* Before the model is asked: a run of an hour must not end with it. */
        CHECK(state.calls[DENOISE] == before);
    }
    for (size_t count = 0; count < 2; count++) {
        /* Nobody wants to know why. */
        CHECK(lgs->sample(engine, exact, &host, x, sigmas, count, &result, NULL) == LGS_ERROR_INVALID_ARGUMENT);
        REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigmas",
                lgs->sample(engine, exact, &host, x, sigmas, count, &result, &error));
    }
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma", lgs->jvp(engine, exact, &host, x, NAN, x, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma", lgs->jvp(engine, exact, &host, x, 0, x, &result, &product, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "sigma",
            lgs->reverse_noise(engine, exact, &host, x, 1, 2, x, &result, &error));
    REFUSED(LGS_ERROR_INVALID_ARGUMENT, "eta",
            lgs->sample(engine, "{\"eta\": -1}", &host, x, sigmas, LEVELS, &result, &error));
    REFUSED(LGS_ERROR_INVALID_TYPE, "nope",
            lgs->sample(engine, "{\"nope\": 1}", &host, x, sigmas, LEVELS, &result, &error));
    CHECK(result == SENTINEL && product == SENTINEL);
    CHECK(state.calls[NOISE] == 0 && state.calls[PROGRESS] == 0);
    sample_once(engine);
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

const named_check_t call_checks[] = {
    {"callbacks.stop", "LGS_STOP from any callback, at any of its calls, ends the call at once.", stops},
    {"callbacks.stop_with_tensor", "LGS_STOP ends the call also where a tensor was stored.", stops_with_a_tensor},
    {"callbacks.fail", "LGS_FAIL from any callback, at any of its calls, ends a call that has no other way.", fails},
    {"callbacks.fail_with_tensor", "LGS_FAIL counts also where a tensor was stored.", fails_with_a_tensor},
    {"callbacks.nonsense", "An answer that is none of the three is a failure.", answers_nonsense},
    {"callbacks.no_tensor", "LGS_CONTINUE without a tensor is a failure.", stores_nothing},
    {"callbacks.another_way", "A larger batch that is refused is asked for one point at a time.", another_way},
    {"callbacks.optional", "Callbacks that the header says may be null are not called where they are.", optional},
    {"callbacks.forward_ad", "Forward mode is asked of the host, taken where it has it, closed only where it is open.",
     forward_mode},
    {"callbacks.log", "The log callback can end the opening of an engine, and a call.", logging},
    {"structs.host", "Every size of lgs_host is taken for what it holds, or refused by name; nothing beyond is read.",
     host_sizes},
    {"structs.choice", "What auto finds out is written where the host keeps it, within its size, and used.", remembered},
    {"tensors.returned", "A tensor that a callback returns and cannot be used is refused by step and by name.",
     odd_outputs},
    {"tensors.x", "x of any strides and floating dtype is taken, any other is refused by name.", odd_x},
    {"numbers.refused", "Invalid noise levels are refused before the model is asked.", odd_numbers},
};
const size_t call_check_count = COUNT(call_checks);
