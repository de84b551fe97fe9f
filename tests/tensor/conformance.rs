//! What every executor must show. One list, executed on the processor, on the fake
//! GPU of `tests/cuda`, and on the GPU of this machine where it has one
//! (`REQUIRE_CUDA=1`: it must).

use quern::device::Device;

use super::support::begin_on;
use super::{compute, cuda, gradients, indices, operations, random};
use crate::cuda::bench::Fake;
use crate::cuda::real;

/// From now on the tests of this process are about the GPU.
pub(super) fn begin() {
    begin_on(Device::cuda_with(0, 2, 1 << 30).unwrap());
}

macro_rules! conformance {
    ($($module:ident::$name:ident,)*) => {
        mod on_processor {
            $(#[test]
            fn $name() {
                super::$module::$name();
            })*
        }

        mod on_fake_gpu {
            $(#[test]
            fn $name() {
                super::Fake::PLAIN.run(|| {
                    super::begin();
                    super::$module::$name();
                });
            })*
        }

        mod on_real_gpu {
            $(#[test]
            fn $name() {
                super::real::run(|| {
                    super::begin();
                    super::$module::$name();
                });
            })*
        }

        /// All of it, in a process that has the fake GPU.
        pub(crate) fn all_on_fake() {
            begin();
            $($module::$name();)*
        }
    };
}

conformance! {
    operations::elementwise_operations_equal_the_reference,
    operations::shaped_operations_equal_the_reference,
    operations::windows_equal_the_reference,
    operations::labels_outside_the_classes_make_cross_entropy_nan,
    operations::casts_truncate_and_saturate_between_all_pairs_of_types,
    operations::sources_yield_what_they_say,
    operations::nan_survives_relu_maximum_and_reduce_max,
    operations::exponentials_of_large_numbers_overflow_and_vanish_as_they_should,
    compute::products_are_as_exact_as_their_compute_type_says,
    compute::types_without_a_choice_are_multiplied_as_ever,
    compute::a_gradient_has_the_compute_type_of_its_product,
    indices::indices_of_every_integer_type_pick_what_the_reference_picks,
    indices::gradients_of_what_many_indices_pick_are_added_up,
    gradients::gradients_equal_finite_differences,
    gradients::a_variable_the_loss_does_not_depend_on_gets_zeros,
    gradients::gradients_may_be_taken_twice_and_after_a_flush,
    random::uniforms_are_words_of_philox_by_block_call_and_stream,
    random::uniforms_stay_below_the_upper_end_in_every_type,
    random::normals_follow_box_and_muller,
    random::permutations_hold_every_number_once_and_differ_by_call,
    random::permutation_is_the_order_of_keys,
    random::shards_draw_different_numbers_and_seeds_repeat_them,
    cuda::random_numbers_are_those_of_the_processor,
    cuda::training_has_the_losses_of_the_processor,
    cuda::an_index_outside_is_an_error_that_names_it,
}
