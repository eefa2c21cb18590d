#include "serving/function/function_name.h"

#include <gtest/gtest.h>

#include "serving/function/s3_url.h"
#include "support/expect_error.h"

namespace musher {
namespace {

const FunctionName kHere = {.name = "dogs", .region = "eu-west-1", .account = "000000000000"};

TEST(FunctionName, IsMeantInEachOfLambdasForms) {
  struct Case {
    const char* given;
    const char* qualifier;
    const char* arn;
  };
  for (const auto& [given, qualifier, arn] : {
           Case{"dogs", "", "arn:aws:lambda:eu-west-1:000000000000:function:dogs"},
           Case{"cats", "", "arn:aws:lambda:eu-west-1:000000000000:function:cats"},
           Case{"dogs", "$LATEST", "arn:aws:lambda:eu-west-1:000000000000:function:dogs:$LATEST"},
           Case{"dogs:7", "", "arn:aws:lambda:eu-west-1:000000000000:function:dogs:7"},
           Case{"111122223333:function:dogs", "",
                "arn:aws:lambda:eu-west-1:111122223333:function:dogs"},
           Case{"111122223333:function:dogs:7", "",
                "arn:aws:lambda:eu-west-1:111122223333:function:dogs:7"},
           Case{"arn:aws:lambda:us-east-1:111122223333:function:dogs", "",
                "arn:aws:lambda:us-east-1:111122223333:function:dogs"},
           Case{"arn:aws:lambda:us-east-1:111122223333:function:dogs:7", "",
                "arn:aws:lambda:us-east-1:111122223333:function:dogs:7"},
           Case{"arn:aws:s3:us-east-1:111122223333:function:dogs", "",
                "arn:aws:lambda:eu-west-1:000000000000:function:arn:aws:s3:us-east-1:111122223333:"
                "function:dogs"},
       }) {
    EXPECT_EQ(called_function(given, qualifier, kHere).arn(), arn) << given;
  }
  EXPECT_EQ(
      called_function("arn:aws:lambda:eu-west-1:000000000000:function:dogs", "", kHere).function,
      kHere);
}

TEST(FunctionName, IsLambdas) {
  check(kHere);
  for (const char* name : {"", "a b", "a:b", "ä"})
    test::expect_error(ErrorCode::kInvalidArgument, {"a function's name"},
                       [&] { check(FunctionName{.name = name}); });
}

TEST(S3Url, IsReadAsTheObjectItNames) {
  struct Case {
    const char* url;
    const char* uri;
  };
  for (const auto& [url, uri] : {
           Case{"https://s3.amazonaws.com/cdn-origin-etr.akc.org/2017/11/Carolina-Dog.jpg",
                "s3://cdn-origin-etr.akc.org/2017/11/Carolina-Dog.jpg"},
           Case{"https://s3.eu-west-1.amazonaws.com/b-1/a%20b.jpg", "s3://b-1/a b.jpg"},
           Case{"https://s3-us-west-1.amazonaws.com/udacity-aind/x.jpg", "s3://udacity-aind/x.jpg"},
           Case{"https://dogs.s3.amazonaws.com/test/lab.jpg", "s3://dogs/test/lab.jpg"},
           Case{"https://dogs.s3.us-east-2.amazonaws.com/lab.jpg", "s3://dogs/lab.jpg"},
           Case{"s3://dogs/lab.jpg", "s3://dogs/lab.jpg"},
           // Not S3's: they stay as they are, and nothing below an allowed prefix is called so.
           Case{"https://s3.amazonaws.com.evil.org/b/k.jpg",
                "https://s3.amazonaws.com.evil.org/b/k.jpg"},
           Case{"https://evil.org/s3.amazonaws.com/b/k.jpg",
                "https://evil.org/s3.amazonaws.com/b/k.jpg"},
           Case{"http://s3.amazonaws.com/b/k.jpg", "http://s3.amazonaws.com/b/k.jpg"},
           Case{"https://s3.amazonaws.com/b/k.jpg?versionId=7",
                "https://s3.amazonaws.com/b/k.jpg?versionId=7"},
           Case{"http://169.254.169.254/latest/meta-data",
                "http://169.254.169.254/latest/meta-data"},
       }) {
    EXPECT_EQ(s3_uri_of(url), uri);
  }
  EXPECT_EQ(s3_uri_of("https://s3.amazonaws.com/b/" + std::string(5'000, 'k')).size(), 5'027);
}

}  // namespace
}  // namespace musher
