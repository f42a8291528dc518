//! Empty as yet.
pub fn main() -> i32 {
    0
}
