//! The macro that offers functions as procs, and what it expands to.

use crate::bindings::quern::udf::declare;
use crate::bindings::quern::udf::types::Error as HostError;
use crate::{Error, ErrorCode, Proc, Result};

/// Offers functions of the crate as procs. One per crate; each proc is a
/// function of its name, `fn(&Proc) -> Result`.
///
/// ```no_run
/// use quern_udf::prelude::*;
///
/// procs! {
///     /// The first sentence is shown by `quern proc list`.
///     distributed score {
///         /// Documentation of an input: any table with these columns.
///         input rows { id: int64, features: tensor(float32, [8]), weight: numeric }
///         /// An input whose columns are not fixed.
///         input models;
///         /// Created from this when it is missing; `null` makes a column nullable.
///         output scores { id: int64, score: float32 null }
///         /// Without a default the parameter is required.
///         param threshold: float;
///         param label: string = "score";
///         /// Results of the instances are merged.
///         reduce scored: sum;
///     }
///
///     /// A second proc, one instance for all rows; its output holds models.
///     nondistributed fit {
///         input rows { features: tensor, label: numeric }
///         output fitted: models { loss: float64 }
///     }
/// }
///
/// fn score(p: &Proc) -> Result {
///     let threshold: f64 = p.param("threshold")?;
///     p.result("scored", p.input("rows")?.rows())
/// }
///
/// fn fit(p: &Proc) -> Result {
///     Ok(())
/// }
/// ```
///
/// * `distributed`: one instance per shard of the first input; `nondistributed`:
///   one instance sees all rows.
/// * Column types are those of SQL tables (`int64`, `utf8`,
///   `tensor(uint8, [28, 28])`, …); inputs also take the classes `any`,
///   `numeric` and `tensor`. `output name;` copies the columns of the input at
///   its position.
/// * Parameters are `int`, `float`, `bool`, `string` or `binary`; reducers `sum`, `min`,
///   `max`, `mean`, `concat` or `first`.
#[macro_export]
macro_rules! procs {
    ($($(#[doc = $doc:literal])* $mode:ident $name:ident { $($items:tt)* })+) => {
        const _: () = {
            struct Entry;

            impl $crate::__private::Guest for Entry {
                fn describe() {
                    $crate::__private::install_panic_hook();
                    $({
                        let proc = $crate::__private::Declaration::begin(
                            stringify!($name),
                            $crate::__mode!($mode),
                            &[$($doc),*],
                        );
                        $crate::__items!(proc; $($items)*);
                    })+
                }

                fn run(proc: ::std::string::String) -> ::std::result::Result<(), $crate::__private::HostError> {
                    $crate::__private::install_panic_hook();
                    $crate::__private::dispatch(&proc, &[$((stringify!($name), $name)),+])
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export_entry!(Entry with_types_in $crate::bindings);

            // Natively nothing is exported, so that plain functions of the crate can
            // be tested; this keeps the compiler from calling the procs unused.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = <Entry as $crate::__private::Guest>::describe;
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(::std::string::String) -> ::std::result::Result<(), $crate::__private::HostError> =
                <Entry as $crate::__private::Guest>::run;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __items {
    ($proc:ident;) => {
        let _ = $proc;
    };
    ($proc:ident; $(#[doc = $doc:literal])* input $name:ident; $($rest:tt)*) => {
        $proc.input(stringify!($name), &[$($doc),*]);
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* input $name:ident {
        $($column:ident: $type:ident $(($($args:tt)*))?),* $(,)?
    } $($rest:tt)*) => {
        $proc.input(stringify!($name), &[$($doc),*]);
        $($proc.input_column(stringify!($name), stringify!($column), stringify!($type $(($($args)*))?));)*
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* output $name:ident; $($rest:tt)*) => {
        $proc.output(stringify!($name), &[$($doc),*]);
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* output $name:ident: models; $($rest:tt)*) => {
        $proc.output(stringify!($name), &[$($doc),*]);
        $proc.output_models(stringify!($name));
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* output $name:ident: models { $($columns:tt)* } $($rest:tt)*) => {
        $proc.output(stringify!($name), &[$($doc),*]);
        $proc.output_models(stringify!($name));
        $crate::__output_columns!($proc, $name, { $($columns)* });
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* output $name:ident { $($columns:tt)* } $($rest:tt)*) => {
        $proc.output(stringify!($name), &[$($doc),*]);
        $crate::__output_columns!($proc, $name, { $($columns)* });
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* param $name:ident: $type:ident; $($rest:tt)*) => {
        $proc.param(stringify!($name), $crate::__param_type!($type), ::std::option::Option::None, &[$($doc),*]);
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* param $name:ident: $type:ident = $default:expr; $($rest:tt)*) => {
        let default = ::std::string::ToString::to_string(&$default);
        $proc.param(stringify!($name), $crate::__param_type!($type), ::std::option::Option::Some(default), &[$($doc),*]);
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $(#[doc = $doc:literal])* reduce $name:ident: $reducer:ident; $($rest:tt)*) => {
        $proc.reducer(stringify!($name), stringify!($reducer));
        $crate::__items!($proc; $($rest)*);
    };
    ($proc:ident; $($other:tt)+) => {
        ::std::compile_error!(concat!(
            "expected `input`, `output`, `param` or `reduce` as the documentation of `procs!` shows, found: ",
            stringify!($($other)+)
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __output_columns {
    ($proc:ident, $output:ident, {
        $($column:ident: $type:ident $(($($args:tt)*))? $($null:ident)?),* $(,)?
    }) => {
        $($proc.output_column(
            stringify!($output),
            stringify!($column),
            stringify!($type $(($($args)*))?),
            $crate::__nullable!($($null)?),
        );)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __mode {
    (distributed) => {
        "distributed"
    };
    (nondistributed) => {
        "nondistributed"
    };
    ($other:ident) => {
        ::std::compile_error!(concat!("a proc is `distributed` or `nondistributed`, not `", stringify!($other), "`"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_type {
    (int) => {
        "int"
    };
    (float) => {
        "float"
    };
    (bool) => {
        "bool"
    };
    (string) => {
        "string"
    };
    (binary) => {
        "binary"
    };
    ($other:ident) => {
        ::std::compile_error!(concat!(
            "a parameter is `int`, `float`, `bool`, `string` or `binary`, not `",
            stringify!($other),
            "`"
        ))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __nullable {
    () => {
        false
    };
    (null) => {
        true
    };
    ($other:ident) => {
        ::std::compile_error!(concat!("after a column type only `null` may stand, not `", stringify!($other), "`"))
    };
}

/// Calls `declare` for one proc. A declaration that the host refuses is a
/// mistake in the crate, so it ends `describe` with a panic whose text reaches
/// whoever creates the component.
pub struct Declaration {
    proc: &'static str,
}

impl Declaration {
    /// Declares the proc itself.
    pub fn begin(proc: &'static str, mode: &str, doc: &[&str]) -> Self {
        let this = Self { proc };
        this.check(proc, declare::proc(proc, mode, &paragraph(doc)));
        this
    }

    /// Declares an input.
    pub fn input(&self, name: &str, doc: &[&str]) {
        self.check(name, declare::input(self.proc, name, &paragraph(doc)));
    }

    /// Declares a column an input must have.
    pub fn input_column(&self, input: &str, name: &str, column_type: &str) {
        self.check(name, declare::input_column(self.proc, input, name, &without_spaces(column_type)));
    }

    /// Declares an output.
    pub fn output(&self, name: &str, doc: &[&str]) {
        self.check(name, declare::output(self.proc, name, &paragraph(doc)));
    }

    /// Declares a column of an output.
    pub fn output_column(&self, output: &str, name: &str, column_type: &str, nullable: bool) {
        let column_type = without_spaces(column_type);
        self.check(name, declare::output_column(self.proc, output, name, &column_type, nullable));
    }

    /// Declares that an output holds models.
    pub fn output_models(&self, output: &str) {
        self.check(output, declare::output_models(self.proc, output));
    }

    /// Declares a parameter.
    pub fn param(&self, name: &str, param_type: &str, default: Option<String>, doc: &[&str]) {
        self.check(name, declare::param(self.proc, name, param_type, default.as_deref(), &paragraph(doc)));
    }

    /// Declares how a result is merged.
    pub fn reducer(&self, name: &str, reducer: &str) {
        self.check(name, declare::reducer(self.proc, name, reducer));
    }

    #[expect(clippy::panic, reason = "the only way to stop `describe`, and only for mistakes in the crate itself")]
    fn check(&self, name: &str, outcome: Result<(), HostError>) {
        if let Err(error) = outcome {
            panic!("the declaration of `{name}` in proc `{}` is refused: {}", self.proc, error.message);
        }
    }
}

/// The function behind a proc.
type Body = fn(&Proc) -> Result;

/// Runs the proc of that name.
pub fn dispatch(name: &str, procs: &[(&str, Body)]) -> Result<(), HostError> {
    let outcome = match procs.iter().find(|(known, _)| *known == name) {
        Some((_, proc)) => proc(&Proc::open()),
        None => {
            let known: Vec<_> = procs.iter().map(|(known, _)| *known).collect();
            Err(Error::new(ErrorCode::NotFound, format!("no proc `{name}`; there are {}", known.join(", "))))
        }
    };
    outcome.map_err(crate::error::to_host)
}

/// The lines of a doc comment as one paragraph.
fn paragraph(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `tensor (uint8, [28, 28])`, as `stringify!` may write it, without its spaces.
fn without_spaces(column_type: &str) -> String {
    column_type.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_and_types_are_told_as_one_line() {
        assert_eq!(paragraph(&[" Sum of squares", "", " of each row."]), "Sum of squares of each row.");
        assert_eq!(without_spaces(stringify!(tensor(uint8, [28, 28]))), "tensor(uint8,[28,28])");
    }

    #[test]
    fn an_unknown_proc_is_refused_with_those_there_are() {
        let error = dispatch("trian", &[("train", |_| Ok(())), ("infer", |_| Ok(()))]).err();
        let expected = "no proc `trian`; there are train, infer";
        assert_eq!(error.map(|e| (e.code, e.message)), Some((ErrorCode::NotFound, expected.to_owned())));
    }
}
