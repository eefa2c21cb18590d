#include "job/hyperparameter_entry.h"

namespace musher {

using namespace hyperparameter_table;

std::vector<HyperparameterEntry> data_hyperparameters() {
  const Count per_channel = {1, 3, "one number per image channel"};
  return {
      whole<std::int64_t>("image_size", &H::image_size, 1, 8192,
                          "height and width of what the model is given, in pixels"),
      Entry{"image_channels", "one of", "1, 3", "3", "1 for grey, 3 for RGB",
            [](H& all, const std::string& text) -> std::string {
              if (text != "1" && text != "3")
                return fmt::format("must be 1 or 3, not {}", in_quotes(text));
              all.image_channels = text[0] - '0';
              return {};
            }},
      reals("normalize_mean", &H::normalize_mean, per_channel, {-1000, 1000},
            "0.485, 0.456, 0.406; 0.5 for grey", "subtracted from pixels, which are 0 to 1"),
      reals("normalize_std", &H::normalize_std, per_channel, {0, 1000, true},
            "0.229, 0.224, 0.225; 0.5 for grey", "pixels are divided by it after that"),
      choice<Augmentation>("augmentation", &H::augmentation,
                           {{"none", Augmentation::kNone},
                            {"flip", Augmentation::kFlip},
                            {"crop_flip", Augmentation::kCropFlip},
                            {"random_resized_crop", Augmentation::kRandomResizedCrop}},
                           "what is done to training images; random_resized_crop flips too"),
      whole<std::int64_t>(
          "val_resize_size", &H::val_resize_size, 0, 8192,
          "shorter side of an image in validation, before its middle is taken; 0: "
          "image_size x 256/224, or no more than image_size where that is below 64"),
      interval("random_resized_crop_scale", &H::random_resized_crop_scale, {0, 1, true}, "0.08, 1",
               "share of the picture's area that a random_resized_crop takes"),
      interval("random_resized_crop_ratio", &H::random_resized_crop_ratio, {0, 1000, true},
               "3/4 to 4/3", "its width over its height"),
      reals("color_jitter", &H::color_jitter, {1, 4, "one to four numbers"}, {0, 1000}, "none",
            "how much brightness, contrast, saturation and hue (at most 0.5) of training images "
            "change at random"),
      whole<std::int64_t>("rand_augment_num_ops", &H::rand_augment_num_ops, 0, 100,
                          "RandAugment: operations on each training image; 0: none"),
      whole<std::int64_t>("rand_augment_magnitude", &H::rand_augment_magnitude, 0, 30,
                          "of each of them, in torchvision's 31 steps"),
      real("random_erasing", &H::random_erasing, {0, 1},
           "probability with which a part of a training image is blotted out"),
      real("mixup_alpha", &H::mixup_alpha, {0, 1000},
           "MixUp: images of a virtual worker are mixed by Beta(alpha, alpha); 0: not"),
      real("cutmix_alpha", &H::cutmix_alpha, {0, 1000},
           "CutMix, likewise; with both, each batch gets one of the two"),
      flag("jpeg_scaled_decode", &H::jpeg_scaled_decode,
           "a JPEG that is 2, 4 or 8 times too large is reduced while it is decoded: faster, and "
           "pixels differ a little"),
      flag("csv_header", &H::csv_header,
           "of regression: the first line of each .csv names the columns; else they are 0, 1, …"),
      names("target_columns", &H::target_columns, "the first",
            "of regression: what is to be found, by names of columns"),
      names("feature_columns", &H::feature_columns, "all that are no targets",
            "of regression: what it is found from"),
      whole<std::int64_t>("context_length", &H::context_length, 1, 1'000'000,
                          "of language modeling: tokens that a sample predicts, each from those "
                          "before it"),
      whole<std::int64_t>("vocabulary_size", &H::vocabulary_size, 0, 1 << 24,
                          "of language modeling, required there: tokens are below it"),
      choice<std::string>("token_type", &H::token_type,
                          {{"uint16", "uint16"}, {"uint32", "uint32"}, {"int32", "int32"}},
                          "of language modeling: how .bin files hold tokens"),
      real("undecodable_limit", &H::undecodable_limit, {0, 1},
           "share of an epoch's samples that may be undecodable before the job fails"),
      whole<std::int64_t>("prefetch_bytes", &H::prefetch_bytes, 1 << 20, std::int64_t{1} << 40,
                          "of data read ahead, per rank"),
      whole<std::int64_t>("data_threads", &H::data_threads, 1, 256,
                          "per rank, that decode and transform"),
  };
}

}  // namespace musher
