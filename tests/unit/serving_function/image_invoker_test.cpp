#include "serving/function/image_invoker.h"

#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "serving/http/server.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kJpeg = "\xff\xd8\xff pixels";

/// Beside a server that stands for an endpoint, whose signatures endpoint_client_test checks.
class ImageInvokerTest : public testing::Test {
 public:
  ImageInvokerTest()
      : folder_(fs::path(testing::TempDir()) / ("invoker-" + std::to_string(getpid()))),
        server_({},
                [this](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                  seen_ = request;
                  exchange->answer(answer_);
                }),
        invoker_({.endpoint = "dogs",
                  .allowed_urls = {"file://" + (folder_ / "open").string()},
                  .image_limit = 1'000,
                  .storage = {}},
                 {.url = fmt::format("http://127.0.0.1:{}", server_.port()),
                  .key = {"id", "s"},
                  .ca_bundle = {}}) {
    fs::create_directories(folder_ / "open");
    write("open/lab.jpg", kJpeg);
    write("open/large.jpg", std::string(1'001, 'x'));
    write("closed.jpg", kJpeg);
  }
  ~ImageInvokerTest() override { fs::remove_all(folder_); }

 protected:
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string url(const std::string& name) const { return "file://" + (folder_ / name).string(); }
  Execution run(const std::string& event) {
    const FunctionContext context = {"request-1", "lambda-dogs", "arn:lambda-dogs",
                                     Deadline::after(std::chrono::seconds(30))};
    const Function function = [this](const std::string& given, const FunctionContext& about,
                                     FunctionLog& log) { return invoker_(given, about, log); };
    return execute(function, event, context, std::chrono::seconds(30), make_silent_logger());
  }
  json failure(const std::string& event) {
    const Execution failed = run(event);
    EXPECT_TRUE(failed.failed) << failed.payload;
    return json::parse(failed.payload);
  }

  const fs::path folder_;
  HttpRequest seen_;
  HttpResponse answer_ = {200, "application/json", "[[1.5, -2]]", {}};
  HttpServer server_;
  ImageInvoker invoker_;
};

TEST_F(ImageInvokerTest, AnswersInTheShapeOfTheDogBreedProject) {
  const Execution done = run(json{{"url", url("open/lab.jpg")}}.dump());
  ASSERT_FALSE(done.failed) << done.payload;
  EXPECT_EQ(
      json::parse(done.payload),
      (json{{"statusCode", 200},
            {"headers", {{"Content-Type", "text/plain"}, {"Access-Control-Allow-Origin", "*"}}},
            {"type-result", "<class 'str'>"},
            {"COntent-Type-In",
             "LambdaContext([aws_request_id=request-1,function_name=lambda-dogs,"
             "function_version=$LATEST,invoked_function_arn=arn:lambda-dogs,client_context="
             "None,identity=CognitoIdentity([cognito_identity_id=None,"
             "cognito_identity_pool_id=None])])"},
            {"body", "[[1.5, -2]]"}}));
  EXPECT_EQ(seen_.body, kJpeg);
  EXPECT_EQ(seen_.target, "/endpoints/dogs/invocations");
  EXPECT_EQ(seen_.header("content-type"), "image/jpeg");
  EXPECT_EQ(seen_.header("accept"), "application/json");
  EXPECT_EQ(seen_.id, "request-1") << "one id from end to end";
  EXPECT_THAT(done.log_tail, HasSubstr("endpoint dogs: 200, 11 bytes"));
}

TEST_F(ImageInvokerTest, WhatItCantReadNeverReachesTheEndpoint) {
  for (const auto& [event, type, message] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"{}", "ValueError", R"({"url": "s3://BUCKET/KEY"})"},
           {"[1]", "ValueError", "the event must be"},
           {R"({"url": 1})", "ValueError", "the event must be"},
           {json{{"url", url("closed.jpg")}}.dump(), "AccessDenied", "allow"},
           {json{{"url", url("open/../closed.jpg")}}.dump(), "AccessDenied", "allow"},
           {R"({"url": "http://169.254.169.254/latest/meta-data"})", "AccessDenied", "allow"},
           {R"({"url": "https://dogs.s3.amazonaws.com/lab.jpg"})", "AccessDenied", "allow"},
           {json{{"url", url("open/none.jpg")}}.dump(), "NoSuchKey", "none.jpg"},
           {json{{"url", url("open/large.jpg")}}.dump(), "ValueError", "larger than 1000 bytes"}}) {
    SCOPED_TRACE(event);
    const json failed = failure(event);
    EXPECT_EQ(failed["errorType"], type);
    EXPECT_THAT(failed["errorMessage"].get<std::string>(), HasSubstr(message));
  }
  EXPECT_EQ(seen_.method, "");
}

TEST_F(ImageInvokerTest, AnErrorOfTheEndpointIsItsOwn) {
  answer_ = http_error(403, "AccessDeniedException", "User: x is not authorized");
  const std::string event = json{{"url", url("open/lab.jpg")}}.dump();
  const json failed = failure(event);
  EXPECT_EQ(failed["errorType"], "AccessDeniedException");
  EXPECT_EQ(failed["errorMessage"],
            "An error occurred (AccessDeniedException) when calling the InvokeEndpoint operation: "
            "User: x is not authorized");
  answer_ = {200, "text/html", "<html>", {}};
  EXPECT_EQ(failure(event)["errorType"], "JSONDecodeError");
}

TEST(PictureType, IsToldByTheFirstBytes) {
  EXPECT_EQ(picture_type(kJpeg), "image/jpeg");
  EXPECT_EQ(picture_type(std::string_view("\x89PNG\r\n\x1a\n...", 11)), "image/png");
  EXPECT_EQ(picture_type(std::string_view("RIFF\0\0\0\0WEBPVP8 ", 16)), "image/webp");
  EXPECT_EQ(picture_type("GIF89a"), "application/x-image");
  EXPECT_EQ(picture_type(""), "application/x-image");
}

}  // namespace
}  // namespace musher
