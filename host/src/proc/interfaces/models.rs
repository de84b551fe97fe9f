//! `models`: rows of model tables. Saving appends a row to an output; loading
//! picks a row of an input and shares its tensors.

use wasmtime::component::Resource;

use super::bindings::quern::udf::models;
use super::tables::TableHandle;
use super::{HostError, ModelHandle, VariableHandle};
use crate::base::{Error, Result};
use crate::proc::models::{Selector, check_metadata};
use crate::proc::sandbox::State;
use crate::proc::text;
use crate::tensor::Tensor;

impl models::Host for State {
    fn save(
        &mut self,
        table: Resource<TableHandle>,
        name: String,
        tensors: Vec<(String, Resource<Tensor>)>,
        metadata: Vec<(String, String)>,
    ) -> Result<String, HostError> {
        let limits = self.limits.clone();
        let run = self.run("models.save")?;
        let table = *run.tables.get(&table)?;
        let mut named = Vec::with_capacity(tensors.len());
        for (tensor_name, tensor) in &tensors {
            text::name("tensor", tensor_name)?;
            named.push((tensor_name.as_str(), run.tensors.get(tensor)?.clone()));
        }
        text::name("model", &name)?;
        check_metadata(&metadata, &limits)?;
        Ok(run.waiting(|run| run.save_model(table, &name, &named, &metadata, &limits))?)
    }

    fn ids(&mut self, table: Resource<TableHandle>) -> Result<Vec<String>, HostError> {
        let call_bytes = self.limits.call_bytes;
        let run = self.run("models.ids")?;
        let table = *run.tables.get(&table)?;
        Ok(run.waiting(|run| run.model_ids(table, call_bytes))?)
    }

    fn load_newest(&mut self, table: Resource<TableHandle>) -> Result<Resource<ModelHandle>, HostError> {
        self.load(&table, &Selector::Newest)
    }

    fn load_by_id(&mut self, table: Resource<TableHandle>, id: String) -> Result<Resource<ModelHandle>, HostError> {
        text::name("model id", &id)?;
        self.load(&table, &Selector::Id(&id))
    }

    fn load_by_name(&mut self, table: Resource<TableHandle>, name: String) -> Result<Resource<ModelHandle>, HostError> {
        text::name("model", &name)?;
        self.load(&table, &Selector::Name(&name))
    }

    fn checkpoint(
        &mut self,
        name: String,
        variables: Vec<(String, Resource<VariableHandle>)>,
        metadata: Vec<(String, String)>,
    ) -> Result<(), HostError> {
        let limits = self.limits.clone();
        let run = self.run("models.checkpoint")?;
        text::name("checkpoint", &name)?;
        check_metadata(&metadata, &limits)?;
        let mut named = Vec::with_capacity(variables.len());
        for (variable_name, variable) in &variables {
            text::name("variable", variable_name)?;
            let value = run.session.value(run.variables.get(variable)?.get()?)?;
            named.push((variable_name.as_str(), value));
        }
        Ok(run.waiting(|run| run.keep_checkpoint(&name, &named, metadata, &limits))?)
    }

    fn restore_checkpoint(&mut self, name: String) -> Result<Option<Resource<ModelHandle>>, HostError> {
        let run = self.run("models.restore-checkpoint")?;
        text::name("checkpoint", &name)?;
        match run.waiting(|run| run.restore_checkpoint(&name))? {
            Some(model) => Ok(Some(run.models.open(&mut run.budget, model)?)),
            None => Ok(None),
        }
    }
}

impl State {
    fn load(
        &mut self,
        table: &Resource<TableHandle>,
        selector: &Selector<'_>,
    ) -> Result<Resource<ModelHandle>, HostError> {
        let run = self.run(selector.function())?;
        let table = *run.tables.get(table)?;
        let model = run.waiting(|run| run.load_model(table, selector))?;
        Ok(run.models.open(&mut run.budget, model)?)
    }
}

impl models::HostModel for State {
    fn id(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<String> {
        Ok(self.run("models.model.id")?.models.get(&model)?.id.clone())
    }

    fn name(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<String> {
        Ok(self.run("models.model.name")?.models.get(&model)?.name.clone())
    }

    fn metadata(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.run("models.model.metadata")?.models.get(&model)?.model.metadata.clone())
    }

    fn tensor_names(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<Vec<String>> {
        let run = self.run("models.model.tensor-names")?;
        Ok(run.models.get(&model)?.model.tensors.iter().map(|tensor| tensor.name.clone()).collect())
    }

    fn tensor(&mut self, model: Resource<ModelHandle>, name: String) -> Result<Resource<Tensor>, HostError> {
        let run = self.run("models.model.tensor")?;
        text::name("tensor", &name)?;
        let loaded = run.models.get(&model)?;
        let tensors = &loaded.model.tensors;
        let Some(tensor) = tensors.iter().find(|tensor| tensor.name == name) else {
            let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            let within = format!("model `{}` ({})", loaded.name, names.join(", "));
            return Err(Error::not_found("tensor", &name, Some(within), names).into());
        };
        let tensor = run.session.from_shared(&tensor.data, &loaded.charge, tensor.dtype, &tensor.shape)?;
        Ok(run.tensors.open(&mut run.budget, tensor)?)
    }

    fn drop(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<()> {
        let run = self.run("models.model.drop")?;
        run.models.close(&mut run.budget, &model)?;
        Ok(())
    }
}
