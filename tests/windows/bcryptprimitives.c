/*
 * ProcessPrng, in which Rust's standard library gets random numbers on Windows, for a Wine that has no
 * bcryptprimitives.dll (8 and older).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <windows.h>
/* After windows.h, of which it uses the types. */
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *data, size_t size);

BOOL WINAPI ProcessPrng(unsigned char *data, size_t size)
{
    while (size > 0) {
        ULONG some = size > 1 << 20 ? 1 << 20 : (ULONG)size;
        if (!RtlGenRandom(data, some)) {
            return FALSE;
        }
        data += some;
        size -= some;
    }
    return TRUE;
}
