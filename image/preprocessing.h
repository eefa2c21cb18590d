#pragma once

#include <string>
#include <string_view>

#include "image/image_decoder.h"

namespace musher {

/// `preprocessing.json` of an artifact (docs/formats.md): what evaluation does to a picture before
/// the model sees it, so that whoever serves the model does the same. Augmentation is not in it.
std::string preprocessing_json(const ImageTransform& transform);

/// The transform that was written. What files from before a member existed leave out has its
/// default. kInvalidArgument naming the member for a file that says something else.
ImageTransform parse_preprocessing(std::string_view json);

}  // namespace musher
