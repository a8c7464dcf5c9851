//! A value that a thread lends to whatever it calls.

use std::{cell::Cell, fmt, ptr::NonNull, thread::LocalKey};

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

    /// Looks at what the thread has lent by this key; `None` if that is nothing.
    // `look` is no part of what `LocalKey` calls: that would be called as a function, and not become part of
    // the caller.
    #[inline(always)]
    pub fn with<R>(key: &'static LocalKey<Self>, look: impl FnOnce(&T) -> R) -> Option<R> {
        let value = key.with(|scoped| scoped.0.get())?;
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
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
    };

    use super::Scoped;

    thread_local! {
        static NUMBER: Scoped<u32> = const { Scoped::new() };
    }

    fn seen() -> Option<u32> {
        Scoped::with(&NUMBER, |number| *number)
    }

    fn lend<R>(number: u32, run: impl FnOnce() -> R) -> R {
        NUMBER.with(|scoped| scoped.lend(&number, run))
    }

    #[test]
    fn a_value_is_lent_for_the_time_of_a_call() {
        assert_eq!(seen(), None);
        lend(1, || {
            assert_eq!(seen(), Some(1));
            lend(2, || assert_eq!(seen(), Some(2)));
            assert_eq!(seen(), Some(1));
        });
        assert_eq!(seen(), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another thread, to see that it has nothing")]
    fn a_value_is_lent_on_one_thread() {
        lend(1, || assert_eq!(thread::spawn(seen).join().unwrap(), None));
    }

    #[test]
    fn a_panic_takes_it_back() {
        let panicked = catch_unwind(AssertUnwindSafe(|| lend(1, || panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(seen(), None);
    }
}
