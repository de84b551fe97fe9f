//! `declare`: what a component says about itself; names, order and sizes are
//! checked by the catalog.

use super::HostError;
use super::bindings::quern::udf::declare;
use crate::base::Result;
use crate::catalog::Declarations;
use crate::proc::sandbox::State;

type Outcome = Result<(), HostError>;

impl State {
    /// Declares something; what is refused makes the component unusable, whether
    /// it looks at the answer or not.
    fn declare(&mut self, work: impl FnOnce(&mut Declarations) -> Result<()>) -> Outcome {
        let done = work(self.declarations()?);
        if let Err(error) = &done {
            self.refused.get_or_insert_with(|| error.chain());
        }
        Ok(done?)
    }
}

impl declare::Host for State {
    fn proc(&mut self, name: String, mode: String, doc: String) -> Outcome {
        self.declare(|declared| declared.proc(&name, &mode, &doc))
    }

    fn input(&mut self, proc: String, name: String, doc: String) -> Outcome {
        self.declare(|declared| declared.input(&proc, &name, &doc))
    }

    fn input_column(&mut self, proc: String, input: String, name: String, column_type: String) -> Outcome {
        self.declare(|declared| declared.input_column(&proc, &input, &name, &column_type))
    }

    fn output(&mut self, proc: String, name: String, doc: String) -> Outcome {
        self.declare(|declared| declared.output(&proc, &name, &doc))
    }

    fn output_column(
        &mut self,
        proc: String,
        output: String,
        name: String,
        column_type: String,
        nullable: bool,
    ) -> Outcome {
        self.declare(|declared| declared.output_column(&proc, &output, (&name, &column_type, nullable)))
    }

    fn output_models(&mut self, proc: String, output: String) -> Outcome {
        self.declare(|declared| declared.output_models(&proc, &output))
    }

    fn param(
        &mut self,
        proc: String,
        name: String,
        param_type: String,
        default: Option<String>,
        doc: String,
    ) -> Outcome {
        self.declare(|declared| declared.param(&proc, &name, &param_type, default.as_deref(), &doc))
    }

    fn reducer(&mut self, proc: String, name: String, reducer: String) -> Outcome {
        self.declare(|declared| declared.reducer(&proc, &name, &reducer))
    }
}
