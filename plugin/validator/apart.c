/*
 * A check in a process of its own: a fork where there is one, and on Windows the program once more.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "apart.h"

#if defined(_WIN32)
#include <wchar.h>
#include <windows.h>

/* What the other process is to know; with it in the environment, this program is one. */
#define NAME "LGS_VALIDATE_CHECK"
#define FOUND "LGS_VALIDATE_FOUND"
/* Bytes of its answer before what the check has to tell: two counts. */
enum { HEADER = 48 };

static void give_up(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    exit(2);
}

/* The path of a new, empty file. */
static void new_file(wchar_t path[MAX_PATH])
{
    wchar_t folder[MAX_PATH - 14];
    DWORD length = GetTempPathW(MAX_PATH - 14, folder);
    if (length == 0 || length >= MAX_PATH - 14 || !GetTempFileNameW(folder, L"lgs", 0, path)) {
        give_up("a file for what was found");
    }
}

/* tmpfile() of msvcrt's would lie at the root of the drive, where not everybody may write. */
FILE *new_notes(void)
{
    wchar_t path[MAX_PATH];
    new_file(path);
    return _wfopen(path, L"w+bTD");
}

static void copy(FILE *from, FILE *to)
{
    char text[4096];
    size_t size;
    while ((size = fread(text, 1, sizeof text, from)) > 0) {
        fwrite(text, 1, size, to);
    }
}

const char *make_check_apart(const named_check_t *check, FILE *notes, found_t *found)
{
    static char end[80];
    STARTUPINFOW start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    wchar_t path[MAX_PATH], program[4096], *command = _wcsdup(GetCommandLineW());
    DWORD status = 0, length = GetModuleFileNameW(NULL, program, 4096);
    DWORD patience = longest < INFINITE / 1000 ? longest * 1000 : INFINITE;
    FILE *in;
    int complete;
    new_file(path);
    /* A check that crashes is to end, and no window is to ask about it. */
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    if (!command || length == 0 || length == 4096 || !SetEnvironmentVariableA(NAME, check->name) || !SetEnvironmentVariableW(L"" FOUND, path) ||
        !CreateProcessW(program, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        give_up("a process for the check");
    }
    end[0] = 0;
    if (WaitForSingleObject(process.hProcess, patience) == WAIT_TIMEOUT) {
        snprintf(end, sizeof end, "hung: no end in %u seconds\n", longest);
        TerminateProcess(process.hProcess, 1);
        WaitForSingleObject(process.hProcess, INFINITE);
    }
    GetExitCodeProcess(process.hProcess, &status);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
    free(command);
    in = _wfopen(path, L"rb");
    complete = in && fscanf(in, "%ld %ld", &found->expectations, &found->failures) == 2 && fgetc(in) == '\n';
    if (in) {
        fseek(in, HEADER, SEEK_SET);
        copy(in, notes);
        fclose(in);
    }
    DeleteFileW(path);
    if (end[0]) {
        return end;
    }
    /* Exceptions that nobody has handled are statuses of NTSTATUS's severity "error". */
    if (status >= 0xC0000000) {
        snprintf(end, sizeof end, "crashed: exception 0x%08lX\n", status);
    } else if (!complete || status != 0) {
        snprintf(end, sizeof end, "ended the process, with status %ld\n", (long)status);
    } else {
        return NULL;
    }
    return end;
}

const char *started_for(void)
{
    return getenv(NAME);
}

void end_with(const named_check_t *check)
{
    FILE *notes = _wfopen(_wgetenv(L"" FOUND), L"w+b");
    found_t found;
    if (!notes) {
        exit(2);
    }
    /* The counts come first, once they are known. */
    fprintf(notes, "%*s\n", HEADER - 1, "");
    fflush(notes);
    found = make_check(check, notes);
    fseek(notes, 0, SEEK_SET);
    fprintf(notes, "%*ld %*ld", (HEADER - 2) / 2, found.expectations, (HEADER - 2) / 2, found.failures);
    fclose(notes);
    /* Without the ends of libraries, which a broken one may not survive. */
    TerminateProcess(GetCurrentProcess(), 0);
}

#else
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

FILE *new_notes(void)
{
    return tmpfile();
}

const char *make_check_apart(const named_check_t *check, FILE *notes, found_t *found)
{
    static char end[80];
    int counts[2], status = 0;
    pid_t child;
    ssize_t size;
    fflush(stdout);
    signal(SIGCHLD, SIG_DFL);
    if (pipe(counts) != 0 || (child = fork()) < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        found_t mine;
        sigset_t none;
        /* Whoever has started this program may have left them blocked or ignored. */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGALRM, SIG_DFL);
        alarm(longest);
        mine = make_check(check, notes);
        fflush(notes);
        _exit(write(counts[1], &mine, sizeof mine) == sizeof mine ? 0 : 2);
    }
    close(counts[1]);
    size = read(counts[0], found, sizeof *found);
    close(counts[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        snprintf(end, sizeof end, "hung: no end in %u seconds\n", longest);
    } else if (WIFSIGNALED(status)) {
        snprintf(end, sizeof end, "crashed: %s\n", strsignal(WTERMSIG(status)));
    } else if (size != sizeof *found || WEXITSTATUS(status) != 0) {
        snprintf(end, sizeof end, "ended the process, with status %d\n", WEXITSTATUS(status));
    } else {
        return NULL;
    }
    return end;
}

const char *started_for(void)
{
    return NULL;
}

void end_with(const named_check_t *check)
{
    (void)check;
}
#endif
