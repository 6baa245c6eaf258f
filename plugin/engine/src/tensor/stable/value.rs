//! What goes onto the dispatcher's stack and comes off it. Every handle has one owner at a time, by type.

use std::ptr::NonNull;

use super::{
    shim::{shim, Handle, Operator, Value, RULES_OF},
    Refusal, Tensor,
};

/// An argument of an operator.
pub enum Argument<'a> {
    Tensor(&'a Tensor),
    Integer(i64),
    Truth(bool),
    /// A dtype or a layout, as the interface numbers them.
    Number(i32),
    /// Index and kind of a device.
    Device(i32, i32),
    Integers(&'a [i64]),
    Tensors(&'a [&'a Tensor]),
    Text(&'static str),
    /// What is optional and not given.
    Nothing,
}

/// A list that is being filled.
struct List(Handle);

impl List {
    fn with_capacity(capacity: usize) -> Result<Self, Refusal> {
        let (shim, mut list) = (shim()?, std::ptr::null_mut());
        // SAFETY: the out parameter is ours.
        checked("torch_new_list_reserve_size", unsafe { (shim.torch_new_list_reserve_size)(capacity, &mut list) })?;
        Ok(Self(list))
    }

    fn push(&mut self, value: Value) -> Result<(), Refusal> {
        // SAFETY: the list is alive.
        checked("torch_list_push_back", unsafe { (shim()?.torch_list_push_back)(self.0, value) })
    }

    fn into_value(self) -> Value {
        std::mem::ManuallyDrop::new(self).0 as Value
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if let Ok(shim) = shim() {
            // SAFETY: the list is ours, and this is its end.
            unsafe { (shim.torch_delete_list)(self.0) };
        }
    }
}

/// That a function of the interface has succeeded.
pub fn checked(function: &str, status: i32) -> Result<(), Refusal> {
    if status == 0 {
        Ok(())
    } else {
        Err(refused(function, 0))
    }
}

impl Argument<'_> {
    /// The value, which owns what it points to.
    fn into_value(self) -> Result<Value, Refusal> {
        Ok(match self {
            Argument::Tensor(tensor) => tensor.second_owner()?.into_raw() as Value,
            Argument::Integer(number) => number as Value,
            Argument::Truth(truth) => Value::from(truth),
            Argument::Number(number) => number as u32 as Value,
            Argument::Device(index, kind) => (kind as u32 as Value) << 32 | index as u32 as Value,
            Argument::Integers(numbers) => {
                let mut list = List::with_capacity(numbers.len())?;
                for &number in numbers {
                    list.push(number as Value)?;
                }
                list.into_value()
            }
            Argument::Tensors(tensors) => {
                let mut list = List::with_capacity(tensors.len())?;
                for tensor in tensors {
                    list.push(tensor.second_owner()?.into_raw() as Value)?;
                }
                list.into_value()
            }
            Argument::Text(text) => {
                let mut handle = std::ptr::null_mut();
                // SAFETY: the text is as long as said, and the out parameter is ours.
                let status =
                    unsafe { (shim()?.torch_new_string_handle)(text.as_ptr().cast(), text.len(), &mut handle) };
                checked("torch_new_string_handle", status)?;
                handle as Value
            }
            Argument::Nothing => 0,
        })
    }
}

/// Calls an operator; the values that it returns, the first `results` of the stack.
fn call<const N: usize, const R: usize>(
    operator: Operator,
    arguments: [Argument<'_>; N],
) -> Result<[Value; R], Refusal> {
    let shim = shim()?;
    let largest = arguments.iter().filter_map(Argument::bytes).max().unwrap_or(0);
    // As many as there are arguments or results.
    let mut stack = [0; 8];
    for (place, argument) in stack.iter_mut().zip(arguments) {
        *place = argument.into_value()?;
    }
    // SAFETY: the stack holds what the operator's schema says, and has room for what it returns.
    let status = unsafe {
        (shim.torch_call_dispatcher)(operator.name.as_ptr(), operator.overload.as_ptr(), stack.as_mut_ptr(), RULES_OF)
    };
    if status != 0 {
        return Err(refused(&operator.to_string(), largest));
    }
    Ok(std::array::from_fn(|i| stack[i]))
}

impl Argument<'_> {
    /// The size of a tensor, for what is said of a refusal.
    fn bytes(&self) -> Option<i64> {
        match self {
            Argument::Tensor(tensor) => Some(tensor.numel() as i64 * 8),
            Argument::Tensors(tensors) => tensors.iter().map(|tensor| tensor.numel() as i64 * 8).max(),
            _ => None,
        }
    }
}

/// Why an operator failed. The interface does not say: it writes the exception's text to the standard error. Want of
/// memory has to be told apart, and is tried: by what is left, beside what the operator's largest argument takes.
pub fn refused(operator: &str, largest: i64) -> Refusal {
    let what = "what libtorch says of it is in the program's own output";
    match Tensor::f_room_for(4 * largest + (16 << 20)) {
        true => Refusal::Torch(format!("{operator} failed; {what}")),
        false => Refusal::Torch(format!("{operator} failed, and there is hardly memory left (out of memory); {what}")),
    }
}

/// An operator that gives a tensor.
pub fn tensor<const N: usize>(operator: Operator, arguments: [Argument<'_>; N]) -> Result<Tensor, Refusal> {
    let [value] = call(operator, arguments)?;
    owner_of(value)
}

/// An operator that gives two.
pub fn two_tensors<const N: usize>(
    operator: Operator,
    arguments: [Argument<'_>; N],
) -> Result<(Tensor, Tensor), Refusal> {
    let [first, second] = call(operator, arguments)?;
    Ok((owner_of(first)?, owner_of(second)?))
}

/// An operator that gives a truth value.
pub fn truth<const N: usize>(operator: Operator, arguments: [Argument<'_>; N]) -> Result<bool, Refusal> {
    let [value] = call(operator, arguments)?;
    Ok(value & 0xff != 0)
}

/// An operator that gives a list of tensors.
pub fn tensors<const N: usize>(operator: Operator, arguments: [Argument<'_>; N]) -> Result<Vec<Tensor>, Refusal> {
    let [value] = call(operator, arguments)?;
    let (shim, list, mut size) = (shim()?, List(value as Handle), 0);
    // SAFETY: the list is ours, and so are the out parameters.
    checked("torch_list_size", unsafe { (shim.torch_list_size)(list.0, &mut size) })?;
    (0..size)
        .map(|i| {
            let mut item = 0;
            // SAFETY: as above; what is got of a list is a handle of its own.
            checked("torch_list_get_item", unsafe { (shim.torch_list_get_item)(list.0, i, &mut item) })?;
            owner_of(item)
        })
        .collect()
}

fn owner_of(value: Value) -> Result<Tensor, Refusal> {
    let handle = NonNull::new(value as Handle).ok_or_else(|| Refusal::Torch("expected a tensor, got null".into()))?;
    // SAFETY: what an operator returns belongs to the caller.
    Ok(unsafe { super::owned(handle) })
}
