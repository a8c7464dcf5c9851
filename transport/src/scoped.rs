//! A value that a thread lends to whatever it calls.

use std::{cell::Cell, fmt, ptr::NonNull};

/// Holds a reference for the time of a call. As a thread-local it needs no destructor and no count, which makes
/// the access cheap.
pub struct Scoped<T>(Cell<Option<NonNull<T>>>);

impl<T> Scoped<T> {
    /// Nothing is lent.
    pub const fn new() -> Self {
        Scoped(Cell::new(None))
    }

    /// Lends `value` while `run` runs. What was lent before is so again afterwards, however `run` ends.
    pub fn lend<R>(&self, value: &T, run: impl FnOnce() -> R) -> R {
        struct Before<'a, T>(&'a Scoped<T>, Option<NonNull<T>>);

        impl<T> Drop for Before<'_, T> {
            fn drop(&mut self) {
                self.0.0.set(self.1);
            }
        }

        let _before = Before(self, self.0.replace(Some(NonNull::from(value))));
        run()
    }

    /// Looks at what is lent; `None` if nothing is.
    #[inline(always)]
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let value = self.0.get()?;
        // SAFETY: `lend` has a reference to it, and takes the pointer back before it returns. This runs within
        // that call: a `Scoped` is not `Sync`, so on its thread; and `look` is done before this returns.
        Some(look(unsafe { value.as_ref() }))
    }
}

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Scoped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Scoped(lent)" } else { "Scoped(nothing)" })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::Scoped;

    #[test]
    fn a_value_is_lent_for_the_time_of_a_call() {
        let scoped = Scoped::new();
        let seen = || scoped.with(|number: &u32| *number);
        assert_eq!(seen(), None);
        scoped.lend(&1, || {
            assert_eq!(seen(), Some(1));
            scoped.lend(&2, || assert_eq!(seen(), Some(2)));
            assert_eq!(seen(), Some(1));
        });
        assert_eq!(seen(), None);
    }

    #[test]
    fn a_panic_takes_it_back() {
        let scoped = Scoped::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| scoped.lend(&1, || panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(scoped.with(|number: &i32| *number), None);
    }
}
