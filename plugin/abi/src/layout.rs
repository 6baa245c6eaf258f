//! How structs of `lgs.h` are laid out, for hosts to compare with their own declarations.

/// Size of a struct of the header, and the offset of each of its fields.
pub struct StructLayout {
    pub name: &'static str,
    pub size: usize,
    pub fields: Vec<(&'static str, usize)>,
}
