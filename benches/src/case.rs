//! One call of a kernel, ready to be repeated and compared.

use tq_kernels::{KernelError, Kernels};

/// What a call does, as rates count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Multiply-adds.
    Macs(u64),
    /// Elements of the output, or of the input where that is larger.
    Elements(u64),
}

impl Work {
    /// The number.
    #[must_use]
    pub fn count(self) -> u64 {
        match self {
            Self::Macs(n) | Self::Elements(n) => n,
        }
    }

    /// What is counted.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Macs(_) => "MAC",
            Self::Elements(_) => "element",
        }
    }
}

/// What a call writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Codes.
    U8(Vec<u8>),
    /// Real values; no case makes a NaN.
    F32(Vec<f32>),
    /// Accumulators.
    I32(Vec<i32>),
}

type Call = Box<dyn Fn(&mut Out) -> Result<(), KernelError>>;

/// A call of one library's kernel with its operands and its output.
pub struct Case {
    /// Name of the kernel.
    pub kernel: &'static str,
    out: Out,
    call: Call,
}

impl Case {
    /// A case that writes to `out`.
    pub(crate) fn new(
        kernel: &'static str,
        out: Out,
        call: impl Fn(&mut Out) -> Result<(), KernelError> + 'static,
    ) -> Self {
        Self { kernel, out, call: Box::new(call) }
    }

    /// Calls the kernel.
    ///
    /// # Errors
    /// Those of the kernel: none for the cases of this crate.
    pub fn run(&mut self) -> Result<(), KernelError> {
        (self.call)(&mut self.out)
    }

    /// What the last call wrote.
    #[must_use]
    pub fn out(&self) -> &Out {
        &self.out
    }
}

type Make = Box<dyn Fn(&Kernels) -> Result<Case, KernelError>>;

/// A case that can be made for any library.
pub struct Spec {
    /// `family/shape`, with what else tells it from its neighbours.
    pub name: String,
    /// What a call does.
    pub work: Work,
    make: Make,
}

impl Spec {
    /// A spec of this name, family and shape.
    pub(crate) fn new(
        name: impl Into<String>,
        work: Work,
        make: impl Fn(&Kernels) -> Result<Case, KernelError> + 'static,
    ) -> Self {
        Self { name: name.into(), work, make: Box::new(make) }
    }

    /// The case on the kernels of a library, held to the scalar ones: both have run once.
    ///
    /// # Errors
    /// A kernel's error, or what it says when results differ.
    pub fn checked(&self, kernels: &Kernels) -> Result<Case, String> {
        let run = |kernels: &Kernels| -> Result<Case, KernelError> {
            let mut case = (self.make)(kernels)?;
            case.run()?;
            Ok(case)
        };
        let case = run(kernels).map_err(|e| format!("{}: {e}", self.name))?;
        let expected = run(&Kernels::scalar()).map_err(|e| format!("{}: {e}", self.name))?;
        if case.out != expected.out {
            return Err(format!("{}: `{}` differs from the scalar kernel", self.name, case.kernel));
        }
        Ok(case)
    }
}
