//! `job`: who called, with what, and what the instance says.

use super::HostError;
use super::bindings::quern::udf::job::{self, Level};
use crate::base::Limits;
use crate::proc::instance::Run;
use crate::proc::job::LogLevel;
use crate::proc::sandbox::State;
use crate::proc::text;

impl job::Host for State {
    fn run_id(&mut self) -> wasmtime::Result<u64> {
        Ok(self.run("job.run-id")?.id.0)
    }

    fn shard(&mut self) -> wasmtime::Result<u32> {
        Ok(self.run("job.shard")?.shard)
    }

    fn shards(&mut self) -> wasmtime::Result<u32> {
        Ok(self.run("job.shards")?.shards)
    }

    fn seed(&mut self) -> wasmtime::Result<u64> {
        Ok(self.run("job.seed")?.seed)
    }

    fn param(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let params = &self.run("job.param")?.params;
        Ok(params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
    }

    fn param_binary(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let params = &self.run("job.param-binary")?.binary_params;
        Ok(params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_vec()))
    }

    fn params(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.run("job.params")?.params.clone())
    }

    fn set_result(&mut self, name: String, value: String) -> Result<(), HostError> {
        let text_bytes = self.limits.text_bytes;
        if value.len() as u64 > text_bytes {
            return Err(Limits::exceeded("text_bytes", value.len() as u64, text_bytes).into());
        }
        let run = self.may_set_result(&name, value.len() as u64)?;
        run.observer.result(&name, &value);
        run.binary_results.remove(&name);
        match run.results.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => run.results.push((name, value)),
        }
        Ok(())
    }

    fn set_binary_result(&mut self, name: String, value: Vec<u8>) -> Result<(), HostError> {
        let bytes = value.len() as u64;
        let run = self.may_set_result(&name, bytes)?;
        run.observer.binary_result(&name, &value);
        run.results.retain(|(known, _)| *known != name);
        run.binary_results.insert(name, bytes);
        Ok(())
    }

    fn set_status(&mut self, message: String, fraction: Option<f32>) -> wasmtime::Result<()> {
        let message = text::one_line(&message, &self.limits);
        let fraction = fraction.filter(|f| f.is_finite()).map(|f| f.clamp(0.0, 1.0));
        self.run("job.set-status")?.observer.status(&message, fraction);
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

impl State {
    /// The run, where it may set a result of that name to a value of so many bytes.
    fn may_set_result(&mut self, name: &str, value_bytes: u64) -> Result<&mut Run, HostError> {
        let Limits { results, results_bytes, .. } = self.limits;
        let run = self.run("job.set-result")?;
        text::name("result", name)?;
        let text = run.results.iter().find(|(known, _)| known == name).map(|(_, value)| value.len() as u64);
        let replaced = text.or_else(|| run.binary_results.get(name).copied());
        let count = (run.results.len() + run.binary_results.len()) as u64 + u64::from(replaced.is_none());
        if count > results {
            return Err(Limits::exceeded("results", count, results).into());
        }
        let name_bytes = name.len() as u64;
        let others = run.results_bytes.saturating_sub(replaced.map_or(0, |bytes| bytes + name_bytes));
        let bytes = others.saturating_add(name_bytes).saturating_add(value_bytes);
        if bytes > results_bytes {
            return Err(Limits::exceeded("results_bytes", bytes, results_bytes).into());
        }
        run.results_bytes = bytes;
        Ok(run)
    }
}
