/*
 * Tensors through PyTorch's C interface.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "torch.h"

#include "check.h"

static int32_t (*empty_strided)(int64_t axes, const int64_t *sizes, const int64_t *strides, int32_t dtype,
                                int32_t device_type, int32_t device_index, lgs_tensor_t *tensor);
static int32_t (*get_data_ptr)(lgs_tensor_t tensor, void **data);
static int32_t (*get_numel)(lgs_tensor_t tensor, int64_t *count);
static int32_t (*get_dtype)(lgs_tensor_t tensor, int32_t *dtype);
static int32_t (*delete_object)(lgs_tensor_t tensor);
static int32_t (*device_type_cpu)(void);
static int32_t dtypes[DTYPES];

const char *const dtype_names[DTYPES] = {"float64", "float32", "float16", "bfloat16", "int64", "bool", "complex64"};
static const size_t item_sizes[DTYPES] = {8, 4, 2, 2, 8, 1, 8};

void load_torch(const char *path)
{
    void *torch = open_library(path);
    find(torch, "aoti_torch_empty_strided", &empty_strided);
    find(torch, "aoti_torch_get_data_ptr", &get_data_ptr);
    find(torch, "aoti_torch_get_numel", &get_numel);
    find(torch, "aoti_torch_get_dtype", &get_dtype);
    find(torch, "aoti_torch_delete_tensor_object", &delete_object);
    find(torch, "aoti_torch_device_type_cpu", &device_type_cpu);
    for (int i = 0; i < DTYPES; i++) {
        char name[64];
        int32_t (*number)(void);
        snprintf(name, sizeof name, "aoti_torch_dtype_%s", dtype_names[i]);
        find(torch, name, &number);
        dtypes[i] = number();
    }
}

lgs_tensor_t new_tensor(int64_t axes, const int64_t *sizes, const int64_t *strides, dtype_t dtype)
{
    int64_t contiguous[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    lgs_tensor_t tensor = NULL;
    for (int64_t i = axes - 1; i > 0; i--) {
        contiguous[i - 1] = contiguous[i] * (sizes[i] > 0 ? sizes[i] : 1);
    }
    if (empty_strided(axes, sizes, strides ? strides : contiguous, dtypes[dtype], device_type_cpu(), 0, &tensor) != 0) {
        fprintf(stderr, "aoti_torch_empty_strided failed\n");
        exit(2);
    }
    if (!strides && count_of(tensor) > 0) {
        memset(numbers(tensor), 0, (size_t)count_of(tensor) * item_sizes[dtype]);
    }
    return tensor;
}

void delete_tensor(lgs_tensor_t tensor)
{
    CHECK(delete_object(tensor) == 0);
}

double *numbers(lgs_tensor_t tensor)
{
    void *pointer = NULL;
    if (get_data_ptr(tensor, &pointer) != 0) {
        fprintf(stderr, "aoti_torch_get_data_ptr failed\n");
        exit(2);
    }
    return pointer;
}

int64_t count_of(lgs_tensor_t tensor)
{
    int64_t count = -1;
    return tensor && get_numel(tensor, &count) == 0 ? count : -1;
}

int is_float64(lgs_tensor_t tensor)
{
    int32_t dtype = -1;
    return tensor && get_dtype(tensor, &dtype) == 0 && dtype == dtypes[DTYPE_FLOAT64];
}
