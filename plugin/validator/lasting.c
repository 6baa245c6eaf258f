/*
 * What shows over many calls, in other threads, after a fork and under signals.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700
#endif

#include "gaussian.h"

#if defined(_WIN32)
#include <windows.h>
/* After windows.h, of which it uses the types. */
#include <psapi.h>
typedef HANDLE thread_t;
typedef DWORD thread_id_t;
#define THREAD_RESULT DWORD WINAPI
static thread_id_t this_thread(void)
{
    return GetCurrentThreadId();
}
static int same_thread(thread_id_t one, thread_id_t other)
{
    return one == other;
}
#else
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
typedef pthread_t thread_t;
typedef pthread_t thread_id_t;
#define THREAD_RESULT void *
static thread_id_t this_thread(void)
{
    return pthread_self();
}
static int same_thread(thread_id_t one, thread_id_t other)
{
    return pthread_equal(one, other);
}
#endif

/* The memory of this process in bytes, as far as it is in use; 0 where the system does not say. */
static double memory_in_use(void)
{
#if defined(_WIN32)
    PROCESS_MEMORY_COUNTERS counters;
    return GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? (double)counters.PagefileUsage : 0;
#else
    double pages = 0, unused;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) {
        return 0;
    }
    if (fscanf(file, "%lf %lf", &unused, &pages) != 2) {
        pages = 0;
    }
    fclose(file);
    return pages * (double)sysconf(_SC_PAGESIZE);
#endif
}

/* A MiB an item, so that a tensor that is lost shows. */
enum { WIDE = 1 << 17, MIB = 1 << 20, RUNS = 24 };

static lgs_tensor_t wide_x(void)
{
    const int64_t sizes[] = {BATCH, WIDE};
    lgs_tensor_t x = new_tensor(2, sizes, NULL, DTYPE_FLOAT64);
    for (int i = 0; i < BATCH * WIDE; i++) {
        numbers(x)[i] = noise_at(0, i % 97);
    }
    return x;
}

/* Runs all functions over and over; the memory that it takes may not grow by what the runs have made. */
static void keeps_nothing(lgs_signal_t answer)
{
    static const char options[] = "{\"lanczos_steps\": 1, \"jvp\": \"finite-difference\"}";
    lgs_engine_t *engine = open_engine(NULL);
    lgs_tensor_t x = wide_x();
    double before = 0;
    if (memory_in_use() == 0) {
        not_checked("this system does not say how much memory a process uses");
    }
    for (int run = 0; run < RUNS; run++) {
        state_t state = {.wide = WIDE, .odd = DENOISE, .odd_call = answer == LGS_CONTINUE ? 0 : 2, .answer = answer,
                         .stores = 1};
        lgs_host_t host = host_of(&state);
        lgs_tensor_t out[3] = {NULL, NULL, NULL}, noise = NULL;
        lgs_error_t *error = NULL;
        lgs_status_t status = lgs->sample(engine, options, &host, x, sigmas, LEVELS, &noise, &error);
        CHECK((status == LGS_OK) == (answer == LGS_CONTINUE) && (noise != NULL) == (status == LGS_OK));
        lgs->error_delete(error);
        lgs->tensor_delete(engine, noise);
        error = NULL;
        noise = NULL;
        state.calls[DENOISE] = 0;
        lgs->reverse_noise(engine, options, &host, x, sigmas[0], sigmas[1], x, &noise, &error);
        lgs->error_delete(error);
        lgs->tensor_delete(engine, noise);
        error = NULL;
        state.calls[DENOISE] = 0;
        lgs->principal_components(engine, options, &host, x, sigmas[0], x, &out[0], &out[1], &out[2], &error);
        lgs->error_delete(error);
        for (int i = 0; i < 3; i++) {
            lgs->tensor_delete(engine, out[i]);
        }
        error = NULL;
        out[0] = NULL;
        CHECK(lgs->tensor_clone(engine, x, &out[0], &error) == LGS_OK);
        lgs->tensor_delete(engine, out[0]);
        if (run == RUNS / 4) {
            before = memory_in_use();
        }
    }
    {
        double growth = (memory_in_use() - before) / MIB;
        /* Each run makes a dozen tensors of 2 MiB at the least. One that is lost in each comes to 34. */
        expect(__FILE__, __LINE__, growth < RUNS || before == 0, "expected memory to stay as it is, got %.0f MiB more after %d runs",
               growth, RUNS - RUNS / 4);
    }
    lgs->tensor_delete(engine, x);
    lgs->engine_close(engine);
}

static void memory_of_calls(void)
{
    keeps_nothing(LGS_CONTINUE);
}

static void memory_of_failures(void)
{
    keeps_nothing(LGS_STOP);
    keeps_nothing(LGS_FAIL);
}

/* Errors and texts are given back: a hundred thousand of them are as many bytes as one. */
static void memory_of_texts(void)
{
    double before = 0;
    if (memory_in_use() == 0) {
        not_checked("this system does not say how much memory a process uses");
    }
    for (int i = 0; i < 120000; i++) {
        char *checked = NULL;
        lgs_error_t *error = NULL;
        CHECK(lgs->options_check(i % 2 ? "{\"eta\": 2}" : NULL, &checked, &error) == (i % 2 ? 1 : LGS_OK));
        lgs->string_delete(checked);
        lgs->error_delete(error);
        if (i == 20000) {
            before = memory_in_use();
        }
    }
    expect(__FILE__, __LINE__, memory_in_use() - before < 4 * MIB, "expected memory to stay as it is, got %.0f KiB more",
           (memory_in_use() - before) / 1024);
}

/* One thread's trajectory, beside those of others. */
typedef struct lane {
    const lgs_engine_t *engine;
    thread_id_t thread;
    int number, strangers, opens, changes, refusals;
    lgs_status_t status;
    /* Of the first of its runs. */
    double values[N];
    state_t state;
} lane_t;

static lgs_signal_t watched_progress(void *context, const lgs_progress_t *report)
{
    lane_t *lane = (lane_t *)((char *)context - offsetof(lane_t, state));
    lane->strangers += !same_thread(lane->thread, this_thread());
    return report->step == 2 && lane->number % 4 == 3 ? LGS_STOP : LGS_CONTINUE;
}

static THREAD_RESULT run_lane(void *context)
{
    lane_t *lane = context;
    double values[N];
    lane->thread = this_thread();
    for (int i = 0; i < N; i++) {
        values[i] = start[i] * (1 + lane->number % 4);
    }
    for (int run = 0; run < 20; run++) {
        lgs_tensor_t x = tensor_of(values), result = NULL;
        lgs_host_t host;
        lgs_error_t *error = NULL;
        memset(&lane->state, 0, sizeof lane->state);
        host = host_of(&lane->state);
        host.progress = watched_progress;
        {
            lgs_status_t status = lgs->sample(lane->engine, exact, &host, x, sigmas, LEVELS, &result, &error);
            lane->changes += run && status != lane->status;
            lane->status = status;
        }
        if (result && run == 0) {
            memcpy(lane->values, numbers(result), sizeof lane->values);
        } else if (result) {
            lane->changes += memcmp(lane->values, numbers(result), sizeof lane->values) != 0;
        }
        lgs->error_delete(error);
        lgs->tensor_delete(lane->engine, result);
        lgs->tensor_delete(lane->engine, x);
        if (lane->opens) {
            lgs_engine_config_t config = {sizeof config, subject.manifest, NULL, NULL, NULL};
            lgs_engine_t *engine = NULL;
            lane->refusals += lgs->engine_open(&config, &engine, NULL) != LGS_OK;
            lgs->engine_close(engine);
        }
    }
    return 0;
}

static void threads(void)
{
    enum { LANES = 8 };
    static lane_t lanes[LANES], alone[4];
    lgs_engine_t *engine = open_engine(NULL);
    thread_t handles[LANES];
    for (int i = 0; i < 4; i++) {
        alone[i].engine = engine;
        alone[i].number = i;
        run_lane(&alone[i]);
        CHECK(alone[i].status == (i == 3 ? LGS_ERROR_HOST_STOPPED : LGS_OK) && alone[i].strangers == 0);
    }
    for (int i = 0; i < LANES; i++) {
        lanes[i].engine = engine;
        lanes[i].number = i;
        lanes[i].opens = i % 4 != 3;
#if defined(_WIN32)
        handles[i] = CreateThread(NULL, 0, run_lane, &lanes[i], 0, NULL);
        CHECK(handles[i] != NULL);
#else
        CHECK(pthread_create(&handles[i], NULL, run_lane, &lanes[i]) == 0);
#endif
    }
    for (int i = 0; i < LANES; i++) {
#if defined(_WIN32)
        WaitForSingleObject(handles[i], INFINITE);
#else
        pthread_join(handles[i], NULL);
#endif
        CHECK(lanes[i].status == alone[i % 4].status && lanes[i].strangers == 0);
        CHECK(lanes[i].changes == 0 && lanes[i].refusals == 0);
        CHECK(memcmp(lanes[i].values, alone[i % 4].values, sizeof alone[0].values) == 0);
    }
    sample_once(engine);
    lgs->engine_close(engine);
}

#if !defined(_WIN32)
static void forks(void)
{
    lgs_engine_t *engine = open_engine(NULL);
    sample_once(engine);
    for (int i = 0; i < 3; i++) {
        int status = -1;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(30);
            sample_once(engine);
            sample_once(open_engine(NULL));
            _exit(failures_so_far() ? 3 : 0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        sample_once(engine);
    }
    lgs->engine_close(engine);
}

static volatile sig_atomic_t delivered;

static void on_signal(int number)
{
    (void)number;
    delivered++;
}

/* A signal that a host handles itself does not disturb a call: only what a callback answers ends it. */
static void signals(void)
{
    struct sigaction action = {0};
    struct itimerval each = {{0, 500}, {0, 500}}, none = {{0, 0}, {0, 0}};
    lgs_engine_t *engine = open_engine(NULL);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGPROF, &action, NULL) == 0 && setitimer(ITIMER_PROF, &each, NULL) == 0);
    for (int i = 0; i < 100000 && (delivered < 50 || i < 20); i++) {
        lgs_engine_t *again = i % 10 ? NULL : open_engine(NULL);
        sample_once(engine);
        lgs->engine_close(again);
    }
    CHECK(setitimer(ITIMER_PROF, &none, NULL) == 0 && delivered >= 50);
    lgs->engine_close(engine);
}
#endif

const named_check_t lasting_checks[] = {
    {"memory.calls", "Nothing is kept of a call that is over.", memory_of_calls},
    {"memory.failures", "Nothing is kept of a call that failed, nor of what its callbacks stored.", memory_of_failures},
    {"memory.texts", "Errors and texts are gone once they are given back.", memory_of_texts},
    {"threads", "Calls on several threads do not meet; callbacks come on the thread of their call.", threads},
#if !defined(_WIN32)
    {"processes.fork", "A child of fork can sample and open engines, as its parent can.", forks},
    {"processes.signals", "A signal that the host handles does not disturb a call.", signals},
#endif
};
const size_t lasting_check_count = COUNT(lasting_checks);
