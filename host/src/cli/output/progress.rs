//! A progress bar on standard error, for work that takes longer than a second.
//! Nothing is drawn where standard error is not a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Paint, duration};

/// Quicker work than this is not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Steps of the bar: progress is a fraction, not a count.
const STEPS: u64 = 1000;

/// One bar, from the start of the work to its end.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    shown_after: Option<Duration>,
    started: Instant,
    known: bool,
    paint: Paint,
}

impl Progress {
    /// A bar that appears after a second.
    pub(crate) fn new(paint: Paint, label: impl Into<String>) -> Self {
        let mut progress = Self::hidden(paint, label);
        progress.shown_after = Some(PATIENCE);
        progress
    }

    /// One that nobody sees.
    pub(crate) fn hidden(paint: Paint, label: impl Into<String>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::hidden());
        bar.set_prefix(label.into());
        let progress = Self { bar, shown_after: None, started: Instant::now(), known: false, paint };
        progress.bar.set_style(progress.style());
        progress
    }

    /// A bar that appears at once: for steps announced to someone watching.
    #[must_use]
    pub(crate) fn at_once(mut self) -> Self {
        self.shown_after = self.shown_after.map(|_| Duration::ZERO);
        self.appear();
        self
    }

    /// How far the work is, where that is known, and a line about it.
    pub(crate) fn set(&mut self, fraction: Option<f64>, message: &str) {
        self.appear();
        if let Some(fraction) = fraction {
            if !self.known {
                self.known = true;
                self.bar.set_style(self.style());
            }
            self.bar.set_position((fraction.clamp(0.0, 1.0) * STEPS as f64) as u64);
        }
        self.bar.set_message(message.to_owned());
    }

    /// Writes a line above the bar.
    pub(crate) fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar and says how long the work took.
    pub(crate) fn finish(self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }

    fn appear(&mut self) {
        if self.shown_after.is_some_and(|after| self.started.elapsed() >= after) {
            self.shown_after = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(15));
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn style(&self) -> ProgressStyle {
        let bar = if self.paint.is_on() { "{bar:20.cyan/238}" } else { "{bar:20}" };
        let template = match self.known {
            true => format!("{{prefix}}  {bar} {{percent:>3}} %  {{wide_msg}} {{took}}"),
            false => "{prefix}  {spinner} {wide_msg} {took}".to_owned(),
        };
        // The template is a constant of this file; a wrong one only costs the looks.
        ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─")
            .tick_strings(&["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", " "])
            .with_key("took", |state: &indicatif::ProgressState, to: &mut dyn std::fmt::Write| {
                let _ = to.write_str(&duration(state.elapsed()));
            })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}
