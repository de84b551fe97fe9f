//! `sum` of integers, added up in 128 bits; its result must fit 64.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};
use datafusion::scalar::ScalarValue;

use super::overflow;

/// What integers are added up in.
const WIDE: DataType = DataType::Decimal128(38, 0);

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
        // Distinct sums over moving frames exist for one type only, and stay as they are.
        if args.is_distinct || !is_narrow(args.return_type()) {
            return self.0.create_sliding_accumulator(args);
        }
        let (name, to) = (args.name.to_owned(), args.return_type().clone());
        let wide = self.0.create_sliding_accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
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
