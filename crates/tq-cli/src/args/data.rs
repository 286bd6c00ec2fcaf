//! What data there is, and how bytes become what a model takes.

use crate::pictures::{Layout, Shaping, Size};
use clap::{Args as ClapArgs, ValueEnum};
use torsh_quantization::analysis::Preprocess;

/// How data is cut into batches and bytes made into floats: (stored * scale - mean) / std.
#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// Folder of PNG and JPEG pictures: all in it, or in one folder for each class. NAME is an input's.
    #[arg(id = "pictures", long = "data", value_name = "[NAME=]DIR")]
    pub(crate) pictures: Option<String>,
    /// Size of pictures: N for the shorter side, in proportion, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW")]
    pub(crate) resize: Option<Size>,
    /// Middle of the resized pictures that is taken: NxN, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW")]
    pub(crate) crop: Option<Size>,
    /// Axis 0 of arrays counts runs, each of which is given to the model whole: clips [clips, frames, features] for a
    /// model of frames [frames, features].
    #[arg(long, conflicts_with = "pictures")]
    pub(crate) sequences: bool,
    /// Inputs that are zeros of the declared shape, as initial states are, with 1 for what is free in it.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) zeros: Vec<String>,
    /// Rows of axis 0, or pictures, in a batch; a model with a fixed first dimension gets its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

impl DataArgs {
    pub(crate) fn preprocess(&self) -> Preprocess {
        self.preprocess.preprocess()
    }

    pub(crate) fn batch(&self) -> Option<usize> {
        self.batch.and_then(|b| usize::try_from(b).ok())
    }

    /// What was given, for messages.
    pub(crate) fn sources(&self, arrays: &[String]) -> Vec<String> {
        arrays.iter().chain(&self.pictures).cloned().collect()
    }

    pub(crate) fn shaping(&self) -> Shaping {
        Shaping { resize: self.resize, crop: self.crop }
    }
}

/// How bytes become floats: (stored * scale - mean) / std.
#[derive(Debug, ClapArgs)]
pub(crate) struct PreprocessArgs {
    /// Where pictures and bytes have their channels; where not given, the input's shape decides for pictures, and
    /// bytes have them on axis 1.
    #[arg(long, value_enum)]
    pub(crate) layout: Option<Layout>,
    /// Scale, mean and std in one word; those given beside it win.
    #[arg(long, value_enum)]
    pub(crate) preset: Option<Preset>,
    /// Factor of pictures and of u8 and i8 arrays.
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) scale: Option<f32>,
    /// Subtracted after scaling: one value, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) mean: Vec<f32>,
    /// Divisor after that: one value, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) std: Vec<f32>,
}

impl PreprocessArgs {
    pub(crate) fn preprocess(&self) -> Preprocess {
        let mut p = self.preset.unwrap_or_default().preprocess();
        if let Some(scale) = self.scale {
            p.scale = scale;
        }
        if !self.mean.is_empty() {
            p.mean.clone_from(&self.mean);
        }
        if !self.std.is_empty() {
            p.std.clone_from(&self.std);
        }
        if let Some(layout) = self.layout {
            p.channel_axis = layout.channel_axis();
        }
        p
    }
}

/// Preprocessing that many networks were trained with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// 0 to 255, as stored.
    #[default]
    None,
    /// 0 to 1: x / 255.
    Unit,
    /// -1 to 1: (x / 255 - 0.5) / 0.5.
    Half,
    /// About -1 to 1: (x - 127) / 128, as the EfficientNet-Lite networks.
    Lite,
    /// Mean 0.485,0.456,0.406 and std 0.229,0.224,0.225 of x / 255.
    Imagenet,
    /// Mean 0.48145466,0.4578275,0.40821073 and std 0.26862954,0.26130258,0.27577711 of x / 255.
    Clip,
    /// Mean 0.4914,0.4822,0.4465 and std 0.2470,0.2435,0.2616 of x / 255.
    Cifar10,
    /// Mean 0.5071,0.4865,0.4409 and std 0.2673,0.2564,0.2762 of x / 255.
    Cifar100,
    /// Mean 0.1307 and std 0.3081 of x / 255.
    Mnist,
}

impl Preset {
    fn preprocess(self) -> Preprocess {
        let (scale, mean, std): (f32, &[f32], &[f32]) = match self {
            Preset::None => (1.0, &[], &[]),
            Preset::Unit => (1.0 / 255.0, &[], &[]),
            Preset::Half => (1.0 / 255.0, &[0.5], &[0.5]),
            Preset::Lite => (1.0, &[127.0], &[128.0]),
            Preset::Imagenet => (1.0 / 255.0, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
            Preset::Clip => (
                1.0 / 255.0,
                &[0.481_454_66, 0.457_827_5, 0.408_210_73],
                &[0.268_629_54, 0.261_302_6, 0.275_777_1],
            ),
            Preset::Cifar10 => (1.0 / 255.0, &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
            Preset::Cifar100 => (1.0 / 255.0, &[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]),
            Preset::Mnist => (1.0 / 255.0, &[0.1307], &[0.3081]),
        };
        Preprocess { scale, mean: mean.to_vec(), std: std.to_vec(), ..Preprocess::default() }
    }
}

/// Part `index` of `count`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Default for Shard {
    /// All of it.
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err("expected I/N with I from 1 to N".into()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}
