//! Learning rates over the steps of a training.

/// A learning rate that follows from how far the training is.
///
/// ```
/// use quern_udf::nn::Schedule;
///
/// let rate = Schedule::Cosine { peak: 2e-3, steps: 1000 };
/// assert_eq!(rate.at(0), 2e-3);
/// assert!((rate.at(500) - 1e-3).abs() < 1e-9);
/// assert!(rate.at(1000) < 1e-9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// The same rate at each step.
    Constant(f64),
    /// From `peak` to 0 along half a cosine: peak · (1 + cos(π · step / steps)) / 2
    /// (Loshchilov & Hutter 2017, "SGDR", equation 5, without restarts).
    Cosine {
        /// The rate at step 0.
        peak: f64,
        /// Steps until it is 0.
        steps: u64,
    },
    /// From `peak` to 0 in a straight line.
    Linear {
        /// The rate at step 0.
        peak: f64,
        /// Steps until it is 0.
        steps: u64,
    },
}

impl Schedule {
    /// The rate at `step`, counted from 0.
    pub fn at(self, step: u64) -> f64 {
        let part = |steps: u64| (step as f64 / steps.max(1) as f64).min(1.0);
        match self {
            Self::Constant(rate) => rate,
            Self::Cosine { peak, steps } => peak * (1.0 + (std::f64::consts::PI * part(steps)).cos()) / 2.0,
            Self::Linear { peak, steps } => peak * (1.0 - part(steps)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_end_at_zero_and_stay_there() {
        for schedule in [Schedule::Cosine { peak: 1.0, steps: 10 }, Schedule::Linear { peak: 1.0, steps: 10 }] {
            assert_eq!(schedule.at(0), 1.0);
            assert!((schedule.at(5) - 0.5).abs() < 1e-12);
            assert!(schedule.at(10).abs() < 1e-12 && schedule.at(11).abs() < 1e-12);
        }
        assert_eq!(Schedule::Constant(0.1).at(99), 0.1);
    }
}
