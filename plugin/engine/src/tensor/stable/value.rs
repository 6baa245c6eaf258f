//! What goes onto the dispatcher's stack and comes off it. Every handle has one owner at a time, by type.

use std::{mem::ManuallyDrop, ops::Deref, ptr::NonNull};

use super::{
    shim::{shim, Handle, Operator, Shim, Value, RULES_OF},
    Device, Refusal, Tensor,
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

/// A value that is still ours: what it points to goes with it, until it is handed over.
enum Owned {
    /// Points to nothing.
    Plain(Value),
    Tensor(Tensor),
    List(List),
    Text(Handle),
}

impl Owned {
    fn into_value(self) -> Value {
        match ManuallyDrop::new(self).deref() {
            Owned::Plain(value) => *value,
            Owned::Tensor(tensor) => super::lend(tensor) as Value,
            Owned::List(list) => list.handle as Value,
            Owned::Text(handle) => *handle as Value,
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let (Owned::Text(handle), Ok(shim)) = (&self, shim()) {
            // SAFETY: the text is ours, and this is its end. The others have ends of their own.
            unsafe { (shim.torch_delete_string)(*handle) };
        }
    }
}

/// A list of integers or of tensors, with its items.
struct List {
    handle: Handle,
    of_tensors: bool,
}

impl List {
    fn with_capacity(capacity: usize, of_tensors: bool) -> Result<Self, Refusal> {
        let (shim, mut handle) = (shim()?, std::ptr::null_mut());
        // SAFETY: the out parameter is ours.
        checked("torch_new_list_reserve_size", unsafe { (shim.torch_new_list_reserve_size)(capacity, &mut handle) })?;
        Ok(Self { handle, of_tensors })
    }

    fn push(&mut self, value: Value) -> Result<(), Refusal> {
        // SAFETY: the list is alive.
        checked("torch_list_push_back", unsafe { (shim()?.torch_list_push_back)(self.handle, value) })
    }

    fn len(&self) -> Result<usize, Refusal> {
        let mut size = 0;
        // SAFETY: the list is alive, and the out parameter is ours.
        checked("torch_list_size", unsafe { (shim()?.torch_list_size)(self.handle, &mut size) })?;
        Ok(size)
    }

    fn item(&self, index: usize) -> Result<Value, Refusal> {
        let mut item = 0;
        // SAFETY: as in `len`.
        checked("torch_list_get_item", unsafe { (shim()?.torch_list_get_item)(self.handle, index, &mut item) })?;
        Ok(item)
    }

    /// The tensors, out of the list.
    fn into_tensors(mut self) -> Result<Vec<Tensor>, Refusal> {
        let items: Vec<Value> = (0..self.len()?).map(|i| self.item(i)).collect::<Result<_, _>>()?;
        self.of_tensors = false; // they have other owners from here on
        items.into_iter().map(owner_of).collect()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if self.of_tensors {
            // A list of the interface knows no owners.
            let items = (0..self.len().unwrap_or(0)).filter_map(|i| self.item(i).ok());
            items.for_each(|item| drop(owner_of(item)));
        }
        if let Ok(shim) = shim() {
            // SAFETY: the list is ours, and this is its end.
            unsafe { (shim.torch_delete_list)(self.handle) };
        }
    }
}

/// That a function of the interface has succeeded.
pub fn checked(function: &str, status: i32) -> Result<(), Refusal> {
    if status == 0 {
        Ok(())
    } else {
        Err(refused(function, None))
    }
}

impl Argument<'_> {
    fn to_owned(&self) -> Result<Owned, Refusal> {
        Ok(match *self {
            Argument::Tensor(tensor) => Owned::Tensor(tensor.second_owner()?),
            Argument::Integer(number) => Owned::Plain(number as Value),
            Argument::Truth(truth) => Owned::Plain(truth.into()),
            Argument::Number(number) => Owned::Plain(number as u32 as Value),
            Argument::Device(index, kind) => Owned::Plain((kind as u32 as Value) << 32 | index as u32 as Value),
            Argument::Integers(numbers) => {
                let mut list = List::with_capacity(numbers.len(), false)?;
                for &number in numbers {
                    list.push(number as Value)?;
                }
                Owned::List(list)
            }
            Argument::Tensors(tensors) => {
                let mut list = List::with_capacity(tensors.len(), true)?;
                for tensor in tensors {
                    let owner = tensor.second_owner()?;
                    list.push(super::lend(&owner) as Value)?;
                    std::mem::forget(owner); // the list's from here on
                }
                Owned::List(list)
            }
            Argument::Text(text) => {
                let mut handle = std::ptr::null_mut();
                // SAFETY: the text is as long as said, and the out parameter is ours.
                let status =
                    unsafe { (shim()?.torch_new_string_handle)(text.as_ptr().cast(), text.len(), &mut handle) };
                checked("torch_new_string_handle", status)?;
                Owned::Text(handle)
            }
            Argument::Nothing => Owned::Plain(0),
        })
    }
}

/// Calls an operator; the values that it returns, the first `results` of the stack.
fn call<const N: usize, const R: usize>(
    operator: Operator,
    arguments: [Argument<'_>; N],
) -> Result<[Value; R], Refusal> {
    let shim = shim()?;
    // All of them before any is handed over: what cannot be made must not take the others with it.
    let mut owned = [const { Owned::Plain(0) }; N];
    for (place, argument) in owned.iter_mut().zip(&arguments) {
        *place = argument.to_owned()?;
    }
    // As many as there are arguments or results.
    let mut stack = [0; 8];
    for (place, argument) in stack.iter_mut().zip(owned) {
        *place = argument.into_value();
    }
    // SAFETY: the stack holds what the operator's schema says, and has room for what it returns.
    let status = unsafe {
        (shim.torch_call_dispatcher)(operator.name.as_ptr(), operator.overload.as_ptr(), stack.as_mut_ptr(), RULES_OF)
    };
    if status != 0 {
        let largest = arguments.iter().filter_map(Argument::room).max_by_key(|room| room.1);
        return Err(refused(&operator.to_string(), largest));
    }
    Ok(std::array::from_fn(|i| stack[i]))
}

impl Argument<'_> {
    /// Where a tensor lies, and the bytes that it has at the most, for what is said of a refusal.
    fn room(&self) -> Option<(Device, i64)> {
        let of = |tensor: &Tensor| (tensor.device(), tensor.numel() as i64 * 8);
        match self {
            Argument::Tensor(tensor) => Some(of(tensor)),
            Argument::Tensors(tensors) => tensors.iter().map(|tensor| of(tensor)).max_by_key(|room| room.1),
            _ => None,
        }
    }
}

/// Why something failed. Older releases do not say: they print the exception's text to the standard error. Want of memory
/// has to be told apart then, and is tried: where there is no room for four times the largest argument and some MB, but
/// for a single byte, it was that.
pub fn refused(what: &str, largest: Option<(Device, i64)>) -> Refusal {
    if let Some(reason) = shim().ok().and_then(Shim::reason) {
        return Refusal::Torch(format!("{what}: {reason}"));
    }
    const PRINTED: &str = "libtorch has printed the reason to standard error";
    let (device, bytes) = largest.unwrap_or((Device::Cpu, 0));
    let room = |bytes| Tensor::room_for(bytes, device);
    match !room(4 * bytes + (16 << 20)) && room(1) {
        false => Refusal::Torch(format!("{what} failed; {PRINTED}")),
        true => Refusal::Torch(format!("{what} failed, and there is hardly memory left (out of memory); {PRINTED}")),
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
    List { handle: value as Handle, of_tensors: true }.into_tensors()
}

fn owner_of(value: Value) -> Result<Tensor, Refusal> {
    let handle = NonNull::new(value as Handle).ok_or_else(|| Refusal::Torch("expected a tensor, got null".into()))?;
    // SAFETY: what an operator returns belongs to the caller.
    Ok(unsafe { super::owned(handle) })
}
