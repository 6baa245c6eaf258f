/*
 * A host whose model is a Gaussian with independent coordinates, of which everything is known in closed form:
 * x_0 ~ N(0, diag(lambda)), variance exploding, so that D(x) = J x with J = diag(lambda / (lambda + sigma^2)).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_VALIDATOR_GAUSSIAN_H
#define LGS_VALIDATOR_GAUSSIAN_H

#include "check.h"
#include "torch.h"

enum { BATCH = 2, D = 4, N = BATCH * D };
enum { LEVELS = 4, STEPS = LEVELS - 1 };

extern const double lambda[D], start[N], sigmas[LEVELS];

/* The callbacks of lgs_host, in its order, and that of lgs_engine_config. */
typedef enum kind { DENOISE, NOISE, PROGRESS, FORWARD_AD, DIAGONAL, LOG, KINDS } kind_t;
extern const char *const kind_names[KINDS];

/* What the callbacks have seen, and what they do. */
typedef struct state {
    int calls[KINDS];
    /* Calls of any kind after one that should have ended it all. */
    int later;
    /* Which callback, at which of its calls (from 1; 0: never), answers otherwise. */
    kind_t odd;
    int odd_call;
    /* What it answers, and whether it stores a tensor all the same. */
    lgs_signal_t answer;
    int stores;
    /* What it returns in place of its tensor: made here, owned by the receiver. */
    lgs_tensor_t (*odd_tensor)(void);
    /* Times that forward mode was closed where it had been refused. */
    int forward_unpaired;
    /* Over all reports. */
    uint64_t ritz_values;
    /* What the last report said. */
    lgs_progress_t last;
    /* Numbers of an item, where they are not D. */
    int64_t wide;
} state_t;

/* Standard normal enough for a comparison with a closed form. */
double noise_at(int draw, int i);

/* A new (BATCH, D) tensor. */
lgs_tensor_t tensor_of(const double *values);

/* A host of this model, and an engine that is open. */
lgs_host_t host_of(state_t *state);
lgs_signal_t log_record(void *context, int32_t level, const char *message);
lgs_engine_t *open_engine(state_t *log);

/* That a (BATCH, D) tensor holds these numbers. */
void expect_close(const char *file, int line, lgs_tensor_t tensor, const double *expected, double tolerance);
#define CHECK_CLOSE(tensor, expected, tolerance) expect_close(__FILE__, __LINE__, tensor, expected, tolerance)

/* Options under which the covariance is exact: as many products as coordinates. */
extern const char exact[];
extern const double exact_eta;

/* Sigma^(1/2) z in the coordinate i, and the factors of x and D(x) in the mean, of the step from s to t. */
double noise_root(double s, double t, int i, double *a, double *b);

/* A whole trajectory, with its callbacks, against the closed form. */
void sample_once(const lgs_engine_t *engine);

#endif
