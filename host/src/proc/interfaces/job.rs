//! `job`: who called, with what, and what the instance says.

use std::sync::PoisonError;

use super::HostError;
use super::bindings::quern::udf::job::{self, Level};
use crate::base::Limits;
use crate::proc::job::LogLevel;
use crate::proc::sandbox::State;
use crate::proc::text;

impl job::Host for State {
    fn run_id(&mut self) -> wasmtime::Result<u64> {
        Ok(self.run("job.run-id")?.task.run.0)
    }

    fn shard(&mut self) -> wasmtime::Result<u32> {
        Ok(self.run("job.shard")?.task.instance)
    }

    fn shards(&mut self) -> wasmtime::Result<u32> {
        Ok(self.run("job.shards")?.task.instances)
    }

    fn seed(&mut self) -> wasmtime::Result<u64> {
        Ok(self.run("job.seed")?.task.seed)
    }

    fn param(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let params = &self.run("job.param")?.task.params.texts;
        Ok(params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
    }

    fn param_binary(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let params = &self.run("job.param-binary")?.task.params.binary;
        Ok(params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_vec()))
    }

    fn params(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.run("job.params")?.task.params.texts.clone())
    }

    fn set_result(&mut self, name: String, value: String) -> Result<(), HostError> {
        let text_bytes = self.limits.text_bytes;
        if value.len() as u64 > text_bytes {
            return Err(Limits::exceeded("text_bytes", value.len() as u64, text_bytes).into());
        }
        let limits = self.limits.clone();
        let run = self.run("job.set-result")?;
        run.may_set_result(&name, value.len() as u64, &limits)?;
        run.observer.result(&name, &value);
        Ok(())
    }

    fn set_binary_result(&mut self, name: String, value: Vec<u8>) -> Result<(), HostError> {
        let limits = self.limits.clone();
        let run = self.run("job.set-binary-result")?;
        run.may_set_result(&name, value.len() as u64, &limits)?;
        run.observer.binary_result(&name, &value);
        Ok(())
    }

    fn set_status(&mut self, message: String, fraction: Option<f32>) -> wasmtime::Result<()> {
        let message = text::one_line(&message, &self.limits);
        let fraction = fraction.filter(|f| f.is_finite()).map(|f| f.clamp(0.0, 1.0));
        let run = self.run("job.set-status")?;
        run.said.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&message);
        run.observer.status(&message, fraction);
        Ok(())
    }

    fn metric(&mut self, name: String, step: u64, value: f64) -> wasmtime::Result<()> {
        let allowed = self.limits.metric_points;
        let run = self.run("job.metric")?;
        // The function has no way to answer, so the log says what was dropped.
        if let Err(error) = text::name("metric", &name) {
            run.observer.log(LogLevel::Warn, &format!("a metric point is dropped: {error}"));
            return Ok(());
        }
        if run.metric_points < allowed {
            run.observer.metric(&name, step, value);
        } else if run.metric_points == allowed {
            let line = Limits::exceeded("metric_points", allowed + 1, allowed);
            run.observer.log(LogLevel::Warn, &format!("further metric points are dropped: {line}"));
        }
        run.metric_points = run.metric_points.saturating_add(1);
        Ok(())
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.run("job.cancelled")?.kill.check().is_err())
    }

    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        State::log(self, level, &message);
        Ok(())
    }
}
