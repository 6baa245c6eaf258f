//! How structs of `lgs.h` are laid out, for hosts to compare with their own declarations.

/// Size of a struct of the header, and the offset of each of its fields.
pub struct StructLayout {
    pub name: &'static str,
    pub size: usize,
    pub fields: Vec<(&'static str, usize)>,
}

/// Declares structs of the header, and the function that says how they are laid out.
#[macro_export]
macro_rules! header_structs {
    ($($(#[$meta:meta])* $c_name:literal $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
        )*

        /// How the structs of this file are laid out.
        pub fn layouts() -> Vec<$crate::layout::StructLayout> {
            vec![$($crate::layout::StructLayout {
                name: $c_name,
                size: std::mem::size_of::<$name>(),
                fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            },)*]
        }
    };
}
