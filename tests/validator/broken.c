/*
 * A liblgs with one fault: the true library of LGS_TRUE_LIBRARY, but for what LGS_FAULT names. A validator that is worth
 * the name finds each.
 *
 * Built as a library of its own, so that it can be loaded wherever the true one can.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#if defined(_WIN32)
#define LGS_EXPORT __declspec(dllexport)
#else
#define LGS_EXPORT __attribute__((visibility("default")))
#endif
#include "library.h"

#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#define THREAD_RESULT DWORD WINAPI
typedef LPTHREAD_START_ROUTINE on_thread_t;
#else
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>
#define THREAD_RESULT void *
typedef void *(*on_thread_t)(void *);
#endif

/* Runs it on a thread of its own, to its end. */
static void on_new_thread(on_thread_t run, void *context)
{
#if defined(_WIN32)
    HANDLE thread = CreateThread(NULL, 0, run, context, 0, NULL);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
#else
    pthread_t thread;
    pthread_create(&thread, NULL, run, context);
    pthread_join(thread, NULL);
#endif
}

static void wait_a_moment(void)
{
#if defined(_WIN32)
    Sleep(1);
#else
    usleep(200);
#endif
}

/* The libtorch that this process has loaded. */
static void *loaded_torch(void)
{
#if defined(_WIN32)
    return (void *)GetModuleHandleA("torch_cpu.dll");
#else
#if defined(__APPLE__)
    return dlopen("@rpath/libtorch_cpu.dylib", RTLD_NOW | RTLD_NOLOAD);
#else
    return dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
#endif
#endif
}

static const lgs_api_t *whole;
static lgs_api_t broken;
static const char *fault;

static int is(const char *name)
{
    return strcmp(fault, name) == 0;
}

/* The host's side of the call under way, and what this library does with it. */
typedef struct wrapped {
    const lgs_host_t *host;
    const lgs_engine_t *engine;
} wrapped_t;

static lgs_signal_t denoise(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *denoised)
{
    wrapped_t *call = context;
    lgs_signal_t answer = call->host->denoise(call->host->context, x, sigma, denoised);
    if (is("stop_is_ignored") && answer == LGS_STOP) {
        whole->tensor_clone(call->engine, x, denoised, NULL);
        return LGS_CONTINUE;
    }
    if (is("tensor_outweighs_failure") && answer == LGS_FAIL && *denoised) {
        return LGS_CONTINUE;
    }
    if (is("loses_what_failures_store") && answer != LGS_CONTINUE && *denoised) {
        lgs_tensor_t lost;
        whole->tensor_clone(call->engine, *denoised, &lost, NULL);
    }
    if (is("nonsense_is_taken") && answer != LGS_FAIL && answer != LGS_STOP) {
        return LGS_CONTINUE;
    }
    if (is("asked_once_more") && answer == LGS_STOP) {
        lgs_tensor_t again = NULL;
        call->host->denoise(call->host->context, x, sigma, &again);
        whole->tensor_delete(call->engine, again);
    }
    return answer;
}

static lgs_signal_t noise(void *context, double sigma, double sigma_next, lgs_tensor_t *z)
{
    wrapped_t *call = context;
    return call->host->noise(call->host->context, sigma, sigma_next, z);
}

static lgs_signal_t progress(void *context, const lgs_progress_t *report)
{
    wrapped_t *call = context;
    lgs_progress_t told = *report;
    lgs_signal_t answer;
    if (is("steps_from_one")) {
        told.step++;
    }
    if (is("no_ritz_values")) {
        told.ritz_count = 0;
    }
    answer = call->host->progress(call->host->context, &told);
    return is("reports_cannot_stop") ? LGS_CONTINUE : answer;
}

static lgs_signal_t diagonal(void *context, lgs_tensor_t x, lgs_tensor_t sigma, lgs_tensor_t *result)
{
    wrapped_t *call = context;
    return call->host->diagonal(call->host->context, x, sigma, result);
}

static lgs_signal_t forward_ad(void *context, int32_t open)
{
    wrapped_t *call = context;
    lgs_signal_t answer = call->host->forward_ad(call->host->context, open);
    if (is("closes_what_was_refused") && open && answer != LGS_CONTINUE) {
        call->host->forward_ad(call->host->context, 0);
    }
    return answer;
}

/* Ours in place of the host's callbacks, those that it has. */
static lgs_host_t around(wrapped_t *call, const lgs_host_t *host)
{
    lgs_host_t ours = *host;
    ours.struct_size = sizeof ours;
    ours.context = call;
    ours.denoise = host->denoise ? denoise : NULL;
    ours.noise = host->noise ? noise : NULL;
    ours.progress = host->progress ? progress : NULL;
    ours.forward_ad = host->forward_ad ? forward_ad : NULL;
    ours.diagonal = host->diagonal ? diagonal : NULL;
    return ours;
}

typedef struct sampled {
    const lgs_engine_t *engine;
    const char *options;
    const lgs_host_t *host;
    lgs_tensor_t x;
    const double *sigmas;
    size_t count;
    lgs_tensor_t *result;
    lgs_error_t **error;
    lgs_status_t status;
} sampled_t;

static THREAD_RESULT on_another_thread(void *context)
{
    sampled_t *s = context;
    s->status = whole->sample(s->engine, s->options, s->host, s->x, s->sigmas, s->count, s->result, s->error);
    return 0;
}

/* The first number of a tensor of float64, by PyTorch's own interface. */
static double *first_number(lgs_tensor_t tensor)
{
    int32_t (*get_data_ptr)(lgs_tensor_t, void **);
    void *data = NULL;
    find(loaded_torch(), "aoti_torch_get_data_ptr", &get_data_ptr);
    get_data_ptr(tensor, &data);
    return data;
}

static const lgs_host_t *latest;

static lgs_status_t sample(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                           const double *sigmas, size_t count, lgs_tensor_t *result, lgs_error_t **error)
{
    wrapped_t call = {host, engine};
    lgs_host_t ours;
    lgs_status_t status;
    sampled_t s = {engine, options, host, x, sigmas, count, result, error, LGS_OK};
    if (is("another_thread") && host) {
        on_new_thread(on_another_thread, &s);
        return s.status;
    }
    if (is("hosts_meet") && host) {
        latest = host; /* One variable for all threads. */
        wait_a_moment();
        return whole->sample(engine, options, latest, x, sigmas, count, result, error);
    }
    if (is("hangs_on_empty") && host && count < 2) {
        for (;;) {
            wait_a_moment();
        }
    }
    if (is("crashes_on_null_error") && host && !error) {
        abort();
    }
    if (!engine || !host || host->struct_size < sizeof *host || host->struct_size > 4096) {
        return whole->sample(engine, options, host, x, sigmas, count, result, error);
    }
    if (is("writes_to_x")) {
        first_number(x)[0] += 1e-3;
    }
    ours = around(&call, host);
    if (is("progress_is_required") && !ours.progress) {
        ours.progress = progress;
    }
    status = whole->sample(engine, options, &ours, x, sigmas, count, result, error);
    if (status == LGS_OK && is("results_differ")) {
        static int calls;
        first_number(*result)[0] += 1e-9 * ++calls;
    }
    if (status == LGS_OK && is("a_little_off")) {
        first_number(*result)[0] *= 1.001;
    }
    if (status == LGS_OK && is("leaks_tensors")) {
        lgs_tensor_t lost;
        whole->tensor_clone(engine, *result, &lost, NULL);
    }
    if (status != LGS_OK && is("result_is_touched")) {
        *result = NULL;
    }
    if (status != LGS_OK && is("failure_is_success")) {
        whole->tensor_clone(engine, x, result, NULL);
        if (error) {
            whole->error_delete(*error);
            *error = NULL;
        }
        return LGS_OK;
    }
    if (status != LGS_OK && is("no_error_object") && error) {
        whole->error_delete(*error);
        *error = NULL;
    }
    if (status == LGS_ERROR_HOST_STOPPED && is("stopped_is_failed")) {
        return LGS_ERROR_HOST_FAILED;
    }
    return status;
}

static lgs_status_t jvp(const lgs_engine_t *engine, const char *options, const lgs_host_t *host, lgs_tensor_t x,
                        double sigma, lgs_tensor_t v, lgs_tensor_t *denoised, lgs_tensor_t *product,
                        lgs_error_t **error)
{
    lgs_host_t copy;
    lgs_status_t status;
    if (is("struct_size_is_ignored") && host) {
        copy = *host; /* Beyond the struct of an older host. */
        copy.struct_size = sizeof copy;
        host = &copy;
    }
    status = whole->jvp(engine, options, host, x, sigma, v, denoised, product, error);
    if (status == LGS_OK && is("products_are_negated")) {
        first_number(*product)[0] *= -1;
    }
    return status;
}

static lgs_status_t options_check(const char *options, char **checked, lgs_error_t **error)
{
    if (is("unknown_options_are_taken") && options && strstr(options, "no_such_option")) {
        options = "{}";
    }
    return whole->options_check(options, checked, error);
}

static void string_delete(char *string)
{
    (void)string;
}

static void error_delete(lgs_error_t *error)
{
    (void)error;
}

static lgs_status_t error_status(const lgs_error_t *error)
{
    lgs_status_t status = whole->error_status(error);
    return status == LGS_ERROR_INVALID_TYPE ? LGS_ERROR_INVALID_ARGUMENT : status;
}

static lgs_status_t engine_open(const lgs_engine_config_t *config, lgs_engine_t **engine, lgs_error_t **error)
{
    lgs_engine_config_t copy;
    if (is("log_cannot_stop") && config && config->struct_size == sizeof copy && config->log) {
        copy = *config;
        copy.log = NULL;
        config = &copy;
    }
    if (is("manifest_is_not_read") && config && config->struct_size == sizeof copy && config->manifest) {
        copy = *config;
        copy.manifest = getenv("LGS_TRUE_MANIFEST");
        config = &copy;
    }
    return whole->engine_open(config, engine, error);
}

static lgs_status_t teleport(const lgs_engine_t *engine, const char *options, const lgs_gaussian_t *prior, lgs_tensor_t x,
                             double sigma, double sigma_next, lgs_tensor_t *result, lgs_error_t **error)
{
    return whole->teleport(engine, is("teleport_in_ve_alone") ? NULL : options, prior, x, sigma, sigma_next, result, error);
}

static lgs_status_t principal_components(const lgs_engine_t *engine, const char *options, const lgs_host_t *host,
                                         lgs_tensor_t x, double sigma, lgs_tensor_t z, lgs_tensor_t *denoised,
                                         lgs_tensor_t *variances, lgs_tensor_t *components, lgs_error_t **error)
{
    lgs_tensor_t swapped;
    lgs_status_t status =
        whole->principal_components(engine, options, host, x, sigma, z, denoised, variances, components, error);
    if (status == LGS_OK && is("outs_are_swapped")) {
        swapped = *denoised;
        *denoised = *variances;
        *variances = swapped;
    }
    return status;
}

static lgs_status_t tensor_clone(const lgs_engine_t *engine, lgs_tensor_t tensor, lgs_tensor_t *clone, lgs_error_t **error)
{
    if (is("clones_do_not_own") && engine && tensor) {
        *clone = tensor;
        return LGS_OK;
    }
    return whole->tensor_clone(engine, tensor, clone, error);
}

const lgs_api_t *lgs_get_api(uint32_t abi_version)
{
    if (!whole) {
        lgs_get_api_t get_api = find_get_api(getenv("LGS_TRUE_LIBRARY"));
        whole = get_api(LGS_ABI_VERSION);
        fault = getenv("LGS_FAULT") ? getenv("LGS_FAULT") : "";
        broken = *whole;
        broken.sample = sample;
        broken.jvp = jvp;
        broken.options_check = options_check;
        broken.engine_open = engine_open;
        broken.teleport = teleport;
        broken.principal_components = principal_components;
        broken.tensor_clone = tensor_clone;
        if (is("strings_are_lost")) {
            broken.string_delete = string_delete;
        }
        if (is("errors_are_lost")) {
            broken.error_delete = error_delete;
        }
        if (is("error_says_otherwise")) {
            broken.error_status = error_status;
        }
        if (is("table_without_size")) {
            broken.struct_size = 0;
        }
    }
    if (abi_version != LGS_ABI_VERSION && !is("any_version")) {
        return NULL;
    }
    return &broken;
}
