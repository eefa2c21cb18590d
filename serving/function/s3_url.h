#pragma once

#include <string>

namespace musher {

/// `s3://bucket/key` for a URL of an object in S3, in either of the forms that S3 itself has,
/// `https://s3[.REGION].amazonaws.com/BUCKET/KEY` and
/// `https://BUCKET.s3[.REGION].amazonaws.com/KEY`; every other text comes back as it is. The object
/// is then read from the store that is set up, by its own credentials: no URL is ever followed.
/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
std::string s3_uri_of(const std::string& url);

}  // namespace musher
