//! `sum` of integers, added up in 128 bits; its result must fit 64.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};
use datafusion::scalar::ScalarValue;

use super::overflow;

/// What integers are added up in.
const WIDE: DataType = DataType::Decimal128(WIDE_DIGITS, 0);
const WIDE_DIGITS: u8 = 38;

/// DataFusion's `sum`, on wide numbers where the argument is an integer.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum(Sum);

fn is_narrow(kind: &DataType) -> bool {
    matches!(kind, DataType::Int64 | DataType::UInt64)
}

fn wide_field() -> FieldRef {
    Arc::new(Field::new("sum", WIDE, true))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_narrow(args.return_type()) {
            return self.0.accumulator(args);
        }
        let (name, to) = (args.name.to_owned(), args.return_type().clone());
        let wide = self.0.accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
        Ok(Box::new(Narrowed { wide, result: Narrow { name, to } }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match is_narrow(args.return_type()) {
            true => self.0.state_fields(StateFieldsArgs { return_field: wide_field(), ..args }),
            false => self.0.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_narrow(args.return_type()) {
            return self.0.create_groups_accumulator(args);
        }
        let (name, to) = (args.name.to_owned(), args.return_type().clone());
        let wide = self.0.create_groups_accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
        Ok(Box::new(Narrowed { wide, result: Narrow { name, to } }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_narrow(args.return_type()) {
            return self.0.create_sliding_accumulator(args);
        }
        let (name, to) = (args.name.to_owned(), args.return_type().clone());
        let wide = match args.is_distinct {
            true => Box::<SlidingDistinct>::default(),
            false => self.0.create_sliding_accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?,
        };
        Ok(Box::new(Narrowed { wide, result: Narrow { name, to } }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }
}

/// An accumulator of wide numbers with narrow ones at its ends; its state is wide.
#[derive(Debug)]
struct Narrowed<A: ?Sized> {
    result: Narrow,
    wide: Box<A>,
}

/// How a wide sum becomes the result.
#[derive(Debug)]
struct Narrow {
    /// The expression, for the error.
    name: String,
    to: DataType,
}

impl Narrow {
    fn array(&self, sums: &ArrayRef) -> Result<ArrayRef> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(sums, &self.to, &strict).map_err(|_| overflow(&self.name, &self.to))
    }
}

/// The arguments as wide numbers.
fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    values.iter().map(|array| Ok(cast(array, &WIDE)?)).collect()
}

impl Accumulator for Narrowed<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.update_batch(&widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.wide.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.result.array(&sum)?, 0)
    }

    fn size(&self) -> usize {
        self.wide.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.wide.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.wide.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.wide.supports_retract_batch()
    }
}

/// The sum of the different wide numbers in a moving window.
#[derive(Debug, Default)]
struct SlidingDistinct {
    /// How often each is in the window.
    counts: HashMap<i128, usize>,
    sum: i128,
}

impl Accumulator for SlidingDistinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in wide_numbers(values)?.iter().flatten() {
            let count = self.counts.entry(value).or_insert(0);
            if *count == 0 {
                // Less than 2^64 different numbers of 64 bits fit 128 by far.
                self.sum = self.sum.saturating_add(value);
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in wide_numbers(values)?.iter().flatten() {
            let Entry::Occupied(mut count) = self.counts.entry(value) else { continue };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                self.sum = self.sum.saturating_sub(value);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128((!self.counts.is_empty()).then_some(self.sum), WIDE_DIGITS, 0))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i128, usize)>()
    }

    /// Windows have no states to merge.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(without_state())
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(without_state())
    }
}

fn without_state() -> DataFusionError {
    DataFusionError::Internal("a distinct sum over a window has no state to merge".into())
}

/// The first argument, which `widened` has made wide.
fn wide_numbers(values: &[ArrayRef]) -> Result<&Decimal128Array> {
    let first = values.first().and_then(|array| array.as_primitive_opt::<Decimal128Type>());
    first.ok_or_else(|| DataFusionError::Internal("a sum of something else than wide numbers".into()))
}

impl GroupsAccumulator for Narrowed<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.wide.update_batch(&widened(values)?, groups, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.result.array(&self.wide.evaluate(emit_to)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.wide.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], n_groups: usize) -> Result<()> {
        self.wide.merge_batch(values, groups, n_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.wide.convert_to_state(&widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.wide.size()
    }
}
