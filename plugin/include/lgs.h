/*
 * lgs.h - Lanczos Gaussian sampling for diffusion models: the C interface of liblgs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A host can be written from this header alone. It loads the library (dlopen, LoadLibrary), looks
 * up the one symbol `lgs_get_api`, and gets a table of functions. liblgs links no libtorch: it
 * picks an engine that was built for the libtorch which the host has loaded already.
 *
 *     const lgs_api_t *lgs = lgs_get_api(LGS_ABI_VERSION);
 *     lgs_engine_config_t config = { sizeof config, "/path/to/engines.json" };
 *     lgs_engine_t *engine;
 *     lgs_error_t *error;
 *     if (lgs->engine_open(&config, &engine, &error) != LGS_OK) {
 *         puts(lgs->error_message(error));
 *         lgs->error_delete(error);
 *     }
 *
 * Rules that hold throughout:
 *
 * Ownership. Whatever is passed to a function or to a callback is borrowed for the time of the
 *   call. Whatever comes back through an out parameter belongs to the receiver, who gives it back
 *   with the matching _delete or _close function. Null is accepted by those and does nothing.
 * Errors. A function that can fail returns a status and, where the status is not LGS_OK and
 *   `error` is not null, stores an error there, which the caller owns. Other out parameters are
 *   then left as they were. Nothing that a call failed on is lost, and everything stays usable.
 * Threads. Each function says what it allows. Callbacks are called on the thread that made the
 *   call, and before it returns. Two trajectories may run on two threads at once.
 * Structs. Each begins with its own size, set by whoever fills it, so that later versions can add
 *   fields at its end. A field beyond the size is taken as zero, and is not written to.
 * Strings are UTF-8 and end with a zero byte.
 * No exception and no panic leaves the library; none may leave a callback.
 */
#ifndef LGS_H
#define LGS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A library that implements this interface defines it before it includes this header. */
#if !defined(LGS_EXPORT)
#if defined(_WIN32)
#define LGS_EXPORT __declspec(dllimport)
#else
#define LGS_EXPORT
#endif
#endif

/* Version of this interface. A table of another version is never given out under this one. */
#define LGS_ABI_VERSION 1u

/* An at::Tensor*, the AtenTensorHandle of PyTorch's own C interface. Never null. */
typedef void *lgs_tensor_t;

/* An engine that is ready for use. */
typedef struct lgs_engine lgs_engine_t;

/* What went wrong: a status and a sentence. */
typedef struct lgs_error lgs_error_t;

/* Outcome of a function. */
typedef int32_t lgs_status_t;
enum {
    LGS_OK = 0,
    /* An argument or an option has a value or a shape that cannot be used. */
    LGS_ERROR_INVALID_ARGUMENT = 1,
    /* An argument or an option is of the wrong type, or there is no such option. */
    LGS_ERROR_INVALID_TYPE = 2,
    /* The engine manifest is missing or malformed. */
    LGS_ERROR_MANIFEST = 3,
    /* No engine fits the host's torch, or its library is missing, altered or not loadable. */
    LGS_ERROR_ENGINE = 4,
    /* The model or the noise source returned something that cannot be used. */
    LGS_ERROR_MODEL_OUTPUT = 5,
    /* A callback returned LGS_FAIL. */
    LGS_ERROR_HOST_FAILED = 6,
    /* A callback returned LGS_STOP. */
    LGS_ERROR_HOST_STOPPED = 7,
    /* libtorch refused an operation. */
    LGS_ERROR_TORCH = 8,
    /* A bug in the library. */
    LGS_ERROR_INTERNAL = 9,
    /* There was no memory left. It is free again, and everything can be used. */
    LGS_ERROR_OUT_OF_MEMORY = 10
};

/*
 * What a callback returns. Failing is 0 because that is what a foreign-function layer often returns
 * for a callback that died before it could answer, and that must not pass for success. Python's
 * ctypes returns whatever happens to lie there: so a callback that stores no tensor has failed whatever
 * it returns, and a host of that kind has to remember by itself what was raised.
 *
 * LGS_FAIL makes the library try the model in another way where there is one: without forward-mode
 * differentiation, after `forward_ad`, or `denoise` of a dual number, under jvp "auto"; for one point
 * at a time, after `denoise` of more items than x has. Anywhere else it ends the call with
 * LGS_ERROR_HOST_FAILED.
 * LGS_STOP always ends the call, with LGS_ERROR_HOST_STOPPED.
 */
typedef int32_t lgs_signal_t;
enum { LGS_FAIL = 0, LGS_CONTINUE = 1, LGS_STOP = 2 };

/* How Jacobian-vector products are computed. */
enum { LGS_JVP_AUTO = 0, LGS_JVP_FORWARD = 1, LGS_JVP_FINITE_DIFFERENCE = 2, LGS_JVP_CENTRAL_DIFFERENCE = 3 };

/* Where a trajectory is: once a step, when D(x) and the step's noise are known. */
typedef struct lgs_progress {
    size_t struct_size;
    /* Steps done, and steps in all. */
    uint64_t step;
    uint64_t steps;
    double sigma;
    double sigma_next;
    /* Model evaluations and Jacobian-vector products since the trajectory began, this step's
     * included. An evaluation in forward mode counts once, one of a doubled batch twice. */
    uint64_t model_evaluations;
    uint64_t jvps;
    /* LGS_JVP_...; LGS_JVP_AUTO while that is undecided. */
    int32_t jvp;
    /* Zero. */
    int32_t reserved;
    /* Estimated relative error of the step's noise, the largest of the batch; NaN where no
     * Lanczos recursion ran. */
    double lanczos_error;
    /* x at `sigma`, and the posterior mean D(x, sigma): (batch, ...). Of the solver secant the latter is the mean at a
     * point close by, at which the model was asked, corrected by the Jacobian. */
    lgs_tensor_t x;
    lgs_tensor_t denoised;
    /* The share of the noise's variance that the posterior covariance adds: with Sigma = s I + c J,
     * s = eta^2 v, and squares summed over the batch, 1 - s |z|^2 / |Sigma^(1/2) z|^2. NaN where the
     * step adds no noise. */
    double covariance_share;
    /* The variance of the step's noise, without s_noise: |Sigma^(1/2) z|^2 over the numbers of x. 0 where
     * the step adds none. */
    double noise_variance;
    /* The Ritz values of J, `ritz_count` numbers in all, as many for each item of x, one item after the
     * other, and rising within an item. They are the eigenvalues of V^T J V, V the orthonormal basis of
     * the Krylov space of the step's products, and may be negative where the model is inexact. Of the solver
     * secant: one for each octave of frequencies, from 0 to 1, at sigma_next. Borrowed for the call. Null and
     * 0 where neither is known. */
    const double *ritz_values;
    uint64_t ritz_count;
} lgs_progress_t;

/*
 * What was found out about a model with jvp or doubled_batch "auto". It holds for one model and for
 * tensors of one shape, dtype and device; the host keeps it from call to call, so that it is found
 * out once. Zeros to begin with, but for `struct_size`.
 */
typedef struct lgs_choice {
    size_t struct_size;
    /* LGS_JVP_...; LGS_JVP_AUTO: not known. */
    int32_t jvp;
    /* Whether several points go through the model in one call. 0: not known; 1: yes; 2: no. */
    int32_t doubled_batch;
    /* 1: the model rounds like bfloat16, whatever its dtype; finite differences reach further. */
    int32_t coarse;
    /* Zero. */
    int32_t reserved;
} lgs_choice_t;

/* The host's side of a call. */
typedef struct lgs_host {
    size_t struct_size;
    /* Handed to every callback as it is. */
    void *context;
    /*
     * The model: the posterior mean D(x, sigma) = E[x_0 | x]. x is (batch, ...) and sigma (batch),
     * both in the dtype and on the device of the trajectory's first x; `denoised` must be like x.
     * x may be a dual number, between forward_ad(1) and forward_ad(0). The batch may be two or three
     * times that of the trajectory's x, for the same items at two or three points: items 0, 1, ...,
     * n - 1, 0, 1, ..., n - 1. Required.
     */
    lgs_signal_t (*denoise)(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *denoised);
    /* Standard normal noise, like x, for the step from sigma to sigma_next. Required by `sample`. */
    lgs_signal_t (*noise)(void *context, double sigma, double sigma_next, lgs_tensor_t *z);
    /* Called once a step. May be null. */
    lgs_signal_t (*progress)(void *context, const lgs_progress_t *progress);
    /*
     * Opens (1) or closes (0) level 0 of forward-mode differentiation on this thread, with gradient
     * recording and inference mode off while it is open. Calls come in pairs and are not nested,
     * except that a call that ends in an error of torch's, for want of memory or in an internal one may
     * leave it open: close it yourself then.
     * Null: this host has none, and finite differences are used.
     *
     * Torch has one level for all threads of a process: wait here while another thread has it.
     * This is a callback, and nothing that the library does itself, because libtorch offers it to
     * its Python side only.
     */
    lgs_signal_t (*forward_ad)(void *context, int32_t open);
    /* Read when a call begins, and written to when it ends, also where it fails; left alone by the host in between, and
     * by other calls. After a callback that failed for a reason that passes (no memory left, somebody else in forward
     * mode) put back what it held before: the failure says nothing of the model. May be null. */
    lgs_choice_t *choice;
    /*
     * diag J at (x, sigma), J = dD/dx, by a network of its own; arguments and result as of `denoise`,
     * x being the trajectory's, in its batch, and never dual. Required by covariance
     * "diagonal-learned", and used by it alone. Null: this host has none.
     */
    lgs_signal_t (*diagonal)(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *diagonal);
} lgs_host_t;

/* What is known of the data before the first evaluation: x_0 ~ N(mean, U diag(variances) U^T + rest (I - U U^T)), with
 * U the columns of `basis`. Tensors of dtype float32 or float64, on any device. */
typedef struct lgs_gaussian {
    size_t struct_size;
    /* (...): the shape of one item of x. */
    lgs_tensor_t mean;
    /* (..., r), r >= 0, of orthonormal columns. */
    lgs_tensor_t basis;
    /* (r), at least 0, as is `rest`. */
    lgs_tensor_t variances;
    double rest;
} lgs_gaussian_t;

/* What an engine is opened with. */
typedef struct lgs_engine_config {
    size_t struct_size;
    /* Path of engines.json; the engines' files lie in its folder. Required. */
    const char *manifest;
    /*
     * The host's torch release, as "2.11.0+cu130". It is used where the loaded libtorch does not
     * report its own, which it does since 2.9. May be null.
     */
    const char *torch_version;
    /* Handed to `log` as it is. Must stay valid until the engine is closed. */
    void *context;
    /*
     * Receives what the library has to say. Levels: 1 error, 2 warning, 3 information, 4 debug.
     * Asking to stop or failing here has effect at the next callback, or when the call ends. May be null.
     */
    lgs_signal_t (*log)(void *context, int32_t level, const char *message);
} lgs_engine_config_t;

typedef struct lgs_api {
    size_t struct_size;
    /* LGS_ABI_VERSION of the table. */
    uint32_t abi_version;
    /* Zero. */
    uint32_t reserved;

    /* Version of the library, as "0.1.0". Static. [any thread] */
    const char *(*version)(void);

    /* The node manifest, JSON: every node, and every option of the sampler with its type, default
     * and range. Static. [any thread] */
    const char *(*manifest)(void);

    /* Size and field offsets of every struct of this header as the library was compiled, JSON:
     * {"lgs_host": {"size": 64, "fields": {"context": 8, ...}}, ...}. For hosts in other languages
     * to check their own declarations against. Static. [any thread] */
    const char *(*layout)(void);

    /* Checks options, a JSON object, against the manifest. `checked` (may be null) gets all options
     * as JSON, defaults filled in; give it back with string_delete. Null options are all defaults.
     * [any thread] */
    lgs_status_t (*options_check)(const char *options, char **checked, lgs_error_t **error);

    /* [any thread] */
    void (*string_delete)(char *string);

    /*
     * Finds the engine for the libtorch of this process, checks it and loads it. The host must have
     * loaded libtorch. An engine library stays loaded for the life of the process; opening it again
     * is cheap. [any thread]
     */
    lgs_status_t (*engine_open)(const lgs_engine_config_t *config, lgs_engine_t **engine, lgs_error_t **error);

    /* What the engine is, JSON: {"lgs", "engine", "torch", "file", "interface", "libtorch", "backend", "devices"}; the
     * interface is a sentence on how it reaches libtorch, and for which releases; the backend is what the host's libtorch,
     * a file, was built for: "CUDA", "ROCm", "XPU" or, for none of these, "CPU". Give it back with string_delete. [any thread] */
    lgs_status_t (*engine_info)(const lgs_engine_t *engine, char **info, lgs_error_t **error);

    /* No call with this engine may be under way. [any thread] */
    void (*engine_close)(lgs_engine_t *engine);

    /*
     * A trajectory from x, (batch, ...) at sigmas[0], down to sigmas[count - 1]; the result is like
     * x. Where sigmas rise, which they must not at the end, x is drawn from the forward process.
     * Items of the batch are independent. `options` as in options_check. [any thread; one call a
     * thread at a time; not from a callback of the same thread]
     */
    lgs_status_t (*sample)(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                           const double *sigmas, size_t count, lgs_tensor_t *result, lgs_error_t **error);

    /* The noise of one reverse step at x: Sigma^(1/2) z, with z (batch, ...) standard normal. The
     * options' s_noise is left to the caller. [as sample] */
    lgs_status_t (*reverse_noise)(const lgs_engine_t *engine, const char *options, const lgs_host_t *host,
                                  lgs_tensor_t x, double sigma, double sigma_next, lgs_tensor_t z,
                                  lgs_tensor_t *result, lgs_error_t **error);

    /* D(x, sigma) and the Jacobian-vector product J v, J = dD/dx; both are like x. [as sample] */
    lgs_status_t (*jvp)(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                        double sigma, lgs_tensor_t v, lgs_tensor_t *denoised, lgs_tensor_t *product,
                        lgs_error_t **error);

    /* A second owner of the same tensor, for what was borrowed and is to be kept. [any thread, also
     * from callbacks] */
    lgs_status_t (*tensor_clone)(const lgs_engine_t *engine, lgs_tensor_t tensor, lgs_tensor_t *clone,
                                 lgs_error_t **error);
    /* [any thread, also from callbacks] */
    void (*tensor_delete)(const lgs_engine_t *engine, lgs_tensor_t tensor);

    /* The parts of an error. The message lives as long as the error. [any thread] */
    lgs_status_t (*error_status)(const lgs_error_t *error);
    const char *(*error_message)(const lgs_error_t *error);
    void (*error_delete)(lgs_error_t *error);

    /* The posterior of x_0 given x: its mean D(x, sigma), like x, and the leading principal components of
     * its covariance, sigma^2 / alpha J. They are found in the Krylov space of K products that begins with
     * z, (batch, ...) standard normal, K being the option lanczos_steps. `variances` is (batch, K) and
     * falls, negative ones taken for 0; `components` is (batch, K, ...), orthonormal, in x's dtype. [as
     * sample] */
    lgs_status_t (*principal_components)(const lgs_engine_t *engine, const char *options, const lgs_host_t *host,
                                         lgs_tensor_t x, double sigma, lgs_tensor_t z, lgs_tensor_t *denoised,
                                         lgs_tensor_t *variances, lgs_tensor_t *components, lgs_error_t **error);

    /* Analytical teleportation: x at sigma_next, 0 < sigma_next < sigma, for x, (batch, ...), at sigma, along the
     * probability-flow ODE of a Gaussian prior. It asks the model nothing. Of the options, `process` counts. The
     * result is like x, and an item's is the same in any batch. [as sample] */
    lgs_status_t (*teleport)(const lgs_engine_t *engine, const char *options, const lgs_gaussian_t *prior,
                             lgs_tensor_t x, double sigma, double sigma_next, lgs_tensor_t *result,
                             lgs_error_t **error);
} lgs_api_t;

/*
 * The table of functions, static, for the version of this header that the host was compiled with
 * (pass LGS_ABI_VERSION); null if the library does not offer that version. [any thread]
 */
LGS_EXPORT const lgs_api_t *lgs_get_api(uint32_t abi_version);

/* The type of lgs_get_api, for dlsym and GetProcAddress. */
typedef const lgs_api_t *(*lgs_get_api_t)(uint32_t abi_version);

#ifdef __cplusplus
}
#endif

#endif /* LGS_H */
