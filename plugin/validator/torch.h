/*
 * The part of PyTorch's C interface that a host needs, as its shim.h declares it, and tensors made with it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_VALIDATOR_TORCH_H
#define LGS_VALIDATOR_TORCH_H

#include "lgs.h"

/* Loads libtorch_cpu, for the life of the process. */
void load_torch(const char *path);

/* By the names that torch has for them. */
typedef enum dtype {
    DTYPE_FLOAT64,
    DTYPE_FLOAT32,
    DTYPE_FLOAT16,
    DTYPE_BFLOAT16,
    DTYPE_INT64,
    DTYPE_BOOL,
    DTYPE_COMPLEX64,
    DTYPES
} dtype_t;
extern const char *const dtype_names[DTYPES];

/* A new tensor on the processor; without strides a contiguous one, of zeros. */
lgs_tensor_t new_tensor(int64_t axes, const int64_t *sizes, const int64_t *strides, dtype_t dtype);
void delete_tensor(lgs_tensor_t tensor);

/* The memory of a tensor, as doubles. */
double *numbers(lgs_tensor_t tensor);
/* How many numbers it has; -1 for null. */
int64_t count_of(lgs_tensor_t tensor);
int is_float64(lgs_tensor_t tensor);

#endif
