//! The macro that makes functions tests, and what it expands to.

#[cfg(feature = "testing")]
use crate::bindings::quern::udf::types::Error as HostError;
#[cfg(feature = "testing")]
use crate::{Error, ErrorCode, Result};

/// Tests of the crate's procs, for `quern proc test`: each `fn name() -> Result`
/// is one; other items in it are helpers. Once per crate; see
/// [`testing`](crate::testing). Elsewhere it expands to nothing.
#[cfg(feature = "testing")]
#[macro_export]
macro_rules! tests {
    ($($body:tt)*) => {
        const _: () = {
            $crate::__tests!([] $($body)*);
        };
    };
}

/// Tests of the crate's procs, for `quern proc test`: each `fn name() -> Result`
/// is one; other items in it are helpers. Once per crate; see
/// [`testing`](crate::testing). Elsewhere it expands to nothing.
#[cfg(not(feature = "testing"))]
#[macro_export]
macro_rules! tests {
    ($($body:tt)*) => {};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$($test:ident)*]) => {
        struct Tests;

        impl $crate::testing::__private::Guest for Tests {
            fn names() -> ::std::vec::Vec<::std::string::String> {
                ::std::vec![$(::std::string::String::from(stringify!($test))),*]
            }

            fn run(test: ::std::string::String) -> ::std::result::Result<(), $crate::__private::HostError> {
                $crate::__private::install_panic_hook();
                $crate::testing::__private::dispatch(&test, &[$((stringify!($test), $test)),*])
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::testing::bindings::export_tests!(
            Tests with_types_in $crate::testing::bindings
        );

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> ::std::vec::Vec<::std::string::String> = <Tests as $crate::testing::__private::Guest>::names;
    };
    ([$($test:ident)*] $(#[$meta:meta])* fn $name:ident() -> Result $body:block $($rest:tt)*) => {
        $(#[$meta])*
        fn $name() -> $crate::Result $body

        $crate::__tests!([$($test)* $name] $($rest)*);
    };
    ([$($test:ident)*] $item:item $($rest:tt)*) => {
        $item

        $crate::__tests!([$($test)*] $($rest)*);
    };
}

/// A test with its name.
#[cfg(feature = "testing")]
type Test<'a> = (&'a str, fn() -> Result);

/// Executes the test of that name.
#[cfg(feature = "testing")]
pub fn dispatch(name: &str, tests: &[Test<'_>]) -> Result<(), HostError> {
    let outcome = match tests.iter().find(|(known, _)| *known == name) {
        Some((_, test)) => test(),
        None => Err(Error::new(ErrorCode::NotFound, format!("no test `{name}`"))),
    };
    outcome.map_err(crate::error::to_host)
}
