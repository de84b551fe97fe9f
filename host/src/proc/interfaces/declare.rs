//! `declare`: what a component says about itself; names, order and sizes are
//! checked by the catalog.

use super::HostError;
use super::bindings::quern::udf::declare;
use crate::proc::sandbox::State;

type Outcome = Result<(), HostError>;

impl declare::Host for State {
    fn proc(&mut self, name: String, mode: String, doc: String) -> Outcome {
        Ok(self.declarations()?.proc(&name, &mode, &doc)?)
    }

    fn input(&mut self, proc: String, name: String, doc: String) -> Outcome {
        Ok(self.declarations()?.input(&proc, &name, &doc)?)
    }

    fn input_column(&mut self, proc: String, input: String, name: String, column_type: String) -> Outcome {
        Ok(self.declarations()?.input_column(&proc, &input, &name, &column_type)?)
    }

    fn output(&mut self, proc: String, name: String, doc: String) -> Outcome {
        Ok(self.declarations()?.output(&proc, &name, &doc)?)
    }

    fn output_column(
        &mut self,
        proc: String,
        output: String,
        name: String,
        column_type: String,
        nullable: bool,
    ) -> Outcome {
        Ok(self.declarations()?.output_column(&proc, &output, (&name, &column_type, nullable))?)
    }

    fn output_models(&mut self, proc: String, output: String) -> Outcome {
        Ok(self.declarations()?.output_models(&proc, &output)?)
    }

    fn param(
        &mut self,
        proc: String,
        name: String,
        param_type: String,
        default: Option<String>,
        doc: String,
    ) -> Outcome {
        Ok(self.declarations()?.param(&proc, &name, &param_type, default.as_deref(), &doc)?)
    }

    fn reducer(&mut self, proc: String, name: String, reducer: String) -> Outcome {
        Ok(self.declarations()?.reducer(&proc, &name, &reducer)?)
    }
}
