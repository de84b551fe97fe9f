//! One loop, compiled for several instruction sets, chosen when it runs.

use std::sync::OnceLock;

/// The instruction sets loops are compiled for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Base,
    /// x86-64-v3: AVX2.
    #[cfg(target_arch = "x86_64")]
    V3,
    /// x86-64-v4: AVX-512.
    #[cfg(target_arch = "x86_64")]
    V4,
}

impl Level {
    /// The best this processor has.
    pub(crate) fn detected() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    return Self::V4;
                }
                if is_x86_feature_detected!("avx2") {
                    return Self::V3;
                }
            }
            Self::Base
        })
    }
}

/// Defines a function whose body is compiled once per [`Level`]; the call picks.
/// Arithmetic gives the same bits at every level: nothing is contracted.
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($T:ident),*] where [$($bounds:tt)*]
     ($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $crate::tensor::simd::simd! {
            @define [] $(#[$meta])* $vis $name [$($T),*] [$($bounds)*] ($($arg: $type),*) $body
        }
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident [$($T:ident),*] where [$($bounds:tt)*]
     ($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $crate::tensor::simd::simd! {
            @define [unsafe] $(#[$meta])* $vis $name [$($T),*] [$($bounds)*] ($($arg: $type),*)
            // SAFETY: upheld by the caller.
            { unsafe { $body } }
        }
    };
    (@define [$($unsafe:tt)?] $(#[$meta:meta])* $vis:vis $name:ident [$($T:ident),*] [$($bounds:tt)*]
     ($($arg:ident: $type:ty),*) $body:block) => {
        $(#[$meta])*
        $vis $($unsafe)? fn $name<$($T),*>($($arg: $type),*) where $($bounds)* {
            #[inline(always)]
            $($unsafe)? fn base<$($T),*>($($arg: $type),*) where $($bounds)* $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            unsafe fn v3<$($T),*>($($arg: $type),*) where $($bounds)* {
                $crate::tensor::simd::simd! { @call [$($unsafe)?] base::<$($T),*>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn v4<$($T),*>($($arg: $type),*) where $($bounds)* {
                $crate::tensor::simd::simd! { @call [$($unsafe)?] base::<$($T),*>($($arg),*) }
            }
            match $crate::tensor::simd::Level::detected() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has what the level says.
                $crate::tensor::simd::Level::V4 => unsafe { v4::<$($T),*>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::tensor::simd::Level::V3 => unsafe { v3::<$($T),*>($($arg),*) },
                $crate::tensor::simd::Level::Base => {
                    $crate::tensor::simd::simd! { @call [$($unsafe)?] base::<$($T),*>($($arg),*) }
                }
            }
        }
    };
    (@call [] $($call:tt)*) => { $($call)* };
    // SAFETY: upheld by the caller of the defined function.
    (@call [unsafe] $($call:tt)*) => { unsafe { $($call)* } };
}
pub(crate) use simd;
