#include "coordinator/endpoints/proxy_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;
using testing::HasSubstr;
using testing::Not;

// As HAProxy 2.6 prints it, with the columns after the ones that are read left out.
constexpr const char* kStats =
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,lastchg,req_tot,\n"
    "endpoint,FRONTEND,,,7,9,4000,12,OPEN,,40,\n"
    "instances,i-1,0,0,3,5,,12,UP,61,,\n"
    "instances,i-2,0,0,0,5,,12,UP 1/3,0,,\n"
    "instances,i-3,0,0,1,5,,12,DOWN 1/2,12,,\n"
    "instances,i-4,0,0,2,5,,12,DRAIN,1,,\n"
    "instances,i-5,0,0,0,5,,12,MAINT,1,,\n"
    "instances,BACKEND,0,0,5,5,400,36,UP,61,33,\n\n";

TEST(ProxyStats, AreReadByTheNamesOfTheColumns) {
  const ProxyStats stats = parse_proxy_stats(kStats);
  EXPECT_EQ(stats.requests, 33U);
  ASSERT_EQ(stats.servers.size(), 5U);
  using State = ProxyServer::State;
  EXPECT_EQ(stats.servers.at("i-1").state, State::kServing);
  EXPECT_EQ(stats.servers.at("i-1").sessions, 3);
  EXPECT_EQ(stats.servers.at("i-2").state, State::kServing);
  EXPECT_EQ(stats.servers.at("i-3").state, State::kDown);
  EXPECT_EQ(stats.servers.at("i-3").state_seconds, 12);
  EXPECT_EQ(stats.servers.at("i-4").state, State::kDraining);
  EXPECT_EQ(stats.servers.at("i-5").state, State::kMaintenance);
}

TEST(ProxyStats, AnythingElseIsAnError) {
  expect_error(ErrorCode::kDataLoss, {"show stat"}, [] { parse_proxy_stats(""); });
  expect_error(ErrorCode::kDataLoss, {"no table"}, [] { parse_proxy_stats("Unknown command.\n"); });
  expect_error(ErrorCode::kDataLoss, {"has no status"},
               [] { parse_proxy_stats("# pxname,svname,x\ninstances,i-1,1\n"); });
}

TEST(ProxyConfig, ListensOnLoopbackAndSendsWhatAnInstanceHasReadOnceMore) {
  const std::string text = proxy_config({.port = 4711, .certificate = ""});
  EXPECT_THAT(text, HasSubstr("bind 127.0.0.1:4711\n"));
  EXPECT_THAT(text, HasSubstr("balance leastconn\n"));
  EXPECT_THAT(text, HasSubstr("{ path /metrics }\n"));
  EXPECT_THAT(text, HasSubstr("backend entrance\n  retries 2\n  retry-on conn-failure 502\n"));
  EXPECT_THAT(text, HasSubstr("retry-on conn-failure\n"));
  EXPECT_THAT(text, Not(HasSubstr("stick on")));
  EXPECT_THAT(proxy_config({.port = 1, .certificate = "", .is_signed = true}),
              HasSubstr("stick on"));
}

TEST(ProxyConfig, OtherAddressesHaveTls) {
  const std::string text = proxy_config({.address = "10.0.0.1", .port = 443, .certificate = "PEM"});
  EXPECT_THAT(text, HasSubstr("bind 10.0.0.1:443 ssl crt tls.pem ssl-min-ver TLSv1.2"));
  EXPECT_THAT(text, Not(HasSubstr("PEM")));
}

TEST(ProxyConfig, InstancesOnOtherHostsAreCheckedAndGetTheToken) {
  const std::string text =
      proxy_config({.port = 1, .certificate = "", .authority = "PEM", .token = "secret"});
  EXPECT_THAT(text, HasSubstr("http-check send hdr X-Musher-Token secret\n"));
  EXPECT_THAT(text, HasSubstr("http-request set-header X-Musher-Token secret\n"));
  EXPECT_THAT(text, HasSubstr("ssl verify required ca-file authority.pem"));
  EXPECT_THAT(text, HasSubstr("retry-on conn-failure 502 empty-response\n"));
  EXPECT_THAT(text, Not(HasSubstr("PEM")));
  EXPECT_THAT(proxy_config({.port = 1, .certificate = ""}), Not(HasSubstr("X-Musher-Token")));
  EXPECT_THAT(add_server_command("i-1", {"10.0.0.7", 4711, true}),
              HasSubstr("add server instances/i-1 10.0.0.7:4711 ssl check-ssl verify required "
                        "ca-file authority.pem verifyhost musher-server on-marked-down "
                        "shutdown-sessions check "));
  EXPECT_THAT(add_server_command("i-1", {.port = 4711}),
              HasSubstr("add server instances/i-1 127.0.0.1:4711 check "));
}

TEST(ProxyConfig, ItsOwnErrorsAreJsonAndSayWhenToComeAgain) {
  const std::string text = proxy_config({.port = 1, .certificate = ""});
  EXPECT_THAT(text,
              HasSubstr("http-error status 503 content-type application/json string "
                        "'{\"message\":\"No instance of the endpoint can take the request "
                        "now.\"}' hdr x-amzn-ErrorType ServiceUnavailable hdr Retry-After 1\n"));
  EXPECT_THAT(text, HasSubstr("hdr x-amzn-ErrorType RequestTimeout\n"));
}

}  // namespace
}  // namespace musher
