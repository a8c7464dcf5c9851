use annulus_macros::{message, wire};

#[message]
#[rkyv(archived = Other)]
struct Say {
    #[rkyv(with = Something)]
    text: String,
    #[cfg_attr(all(), rkyv(omit_bounds))]
    more: String,
    #[cfg_attr(all(), cfg(any()))]
    less: String,
}

#[wire]
enum Part {
    #[rkyv(other)]
    Other,
    Field(#[rkyv(niche)] u8),
}

fn main() {}
