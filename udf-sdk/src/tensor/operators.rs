//! `+ - * /` between tensors and with numbers. They return a [`Result`], because
//! shapes may not fit: `(&a + &b)?`.

use std::ops;

use super::Tensor;
use crate::Result;

macro_rules! between_tensors {
    ($($op:ident $method:ident),*) => {$(
        impl ops::$op<&Tensor> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, b: &Tensor) -> Result<Tensor> {
                Tensor::$method(self, b)
            }
        }
        impl ops::$op<Tensor> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, b: Tensor) -> Result<Tensor> {
                Tensor::$method(self, &b)
            }
        }
        impl ops::$op<&Tensor> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, b: &Tensor) -> Result<Tensor> {
                Tensor::$method(&self, b)
            }
        }
        impl ops::$op<Tensor> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, b: Tensor) -> Result<Tensor> {
                Tensor::$method(&self, &b)
            }
        }
    )*};
}

between_tensors!(Add add, Sub sub, Mul mul, Div div);

macro_rules! with_numbers {
    ($tensor:ty) => {
        impl ops::Add<f64> for $tensor {
            type Output = Result<Tensor>;
            fn add(self, b: f64) -> Result<Tensor> {
                self.affine(1.0, b)
            }
        }
        impl ops::Sub<f64> for $tensor {
            type Output = Result<Tensor>;
            fn sub(self, b: f64) -> Result<Tensor> {
                self.affine(1.0, -b)
            }
        }
        impl ops::Mul<f64> for $tensor {
            type Output = Result<Tensor>;
            fn mul(self, b: f64) -> Result<Tensor> {
                self.affine(b, 0.0)
            }
        }
        impl ops::Div<f64> for $tensor {
            type Output = Result<Tensor>;
            fn div(self, b: f64) -> Result<Tensor> {
                self.affine(1.0 / b, 0.0)
            }
        }
        impl ops::Neg for $tensor {
            type Output = Result<Tensor>;
            fn neg(self) -> Result<Tensor> {
                self.affine(-1.0, 0.0)
            }
        }
        impl ops::Add<$tensor> for f64 {
            type Output = Result<Tensor>;
            fn add(self, b: $tensor) -> Result<Tensor> {
                b.affine(1.0, self)
            }
        }
        impl ops::Sub<$tensor> for f64 {
            type Output = Result<Tensor>;
            fn sub(self, b: $tensor) -> Result<Tensor> {
                b.affine(-1.0, self)
            }
        }
        impl ops::Mul<$tensor> for f64 {
            type Output = Result<Tensor>;
            fn mul(self, b: $tensor) -> Result<Tensor> {
                b.affine(self, 0.0)
            }
        }
    };
}

with_numbers!(&Tensor);
with_numbers!(Tensor);
