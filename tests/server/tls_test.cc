// HTTPS of `tern serve` with a certificate made here: answers and streams, clients that do not
// speak it, stall or hang up, what cannot be started with.
#include <curl/curl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/background_program.h"
#include "tests/support/http_client.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern {
namespace {

using nlohmann::json;

// A self-signed certificate for 127.0.0.1, and its key, as PEM files.
void WriteCertificate(const std::string& certificate_file, const std::string& key_file) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("tern test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  for (const auto& [kind, value] : {std::pair{NID_subject_alt_name, "IP:127.0.0.1"},
                                    std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    X509_add_ext(certificate.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const std::unique_ptr<FILE, int (*)(FILE*)> out(std::fopen(certificate_file.c_str(), "w"),
                                                  std::fclose),
      key_out(std::fopen(key_file.c_str(), "w"), std::fclose);
  PEM_write_X509(out.get(), certificate.get());
  PEM_write_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
}

size_t Append(char* data, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}
size_t Refuse(char*, size_t, size_t, void*) { return 0; }  // curl hangs up

constexpr long Only(long lowest, long highest) { return lowest | highest; }

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    WriteTextModelDir(model_);
    WriteCertificate(certificate_, key_);
  }
  void Start(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {TERN_PROGRAM, "serve", "--model", model_, "--port", "0", "--json",
                               "--tls-cert", certificate_, "--tls-key", key_});
    server_ = std::make_unique<BackgroundProgram>(more);
    const std::string line = server_->ReadLine();
    ASSERT_FALSE(line.empty()) << server_->Errors();
    url_ = json::parse(line).at("url");
    port_ = json::parse(line).at("port");
    EXPECT_EQ(url_, "https://127.0.0.1:" + std::to_string(port_));
  }
  struct Answer {
    CURLcode result;
    std::string body;
  };
  // Trusts certificate_ only. `versions` as CURLOPT_SSLVERSION.
  Answer Ask(const std::string& path, const std::string& body, bool hang_up = false,
             long versions = CURL_SSLVERSION_DEFAULT) {
    Answer answer;
    const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
    curl_easy_setopt(curl.get(), CURLOPT_URL, (url_ + path).c_str());
    curl_easy_setopt(curl.get(), CURLOPT_CAINFO, certificate_.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_SSLVERSION, versions);
    curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, hang_up ? Refuse : Append);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
    if (!body.empty()) {
      curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
      curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
    }
    answer.result = curl_easy_perform(curl.get());
    return answer;
  }
  json Health() { return json::parse(Ask("/health", "").body); }

  TempDir dir_;
  std::string model_ = dir_ / "model", certificate_ = dir_ / "certificate.pem",
              key_ = dir_ / "key.pem", url_;
  int port_ = 0;
  std::unique_ptr<BackgroundProgram> server_;
};

TEST_F(TlsTest, AnswersStreamsAndLargeBodies) {
  Start();
  json body = {{"prompt", "the cat"}, {"max_tokens", 60}, {"seed", 1}};
  const json whole = json::parse(Ask("/v1/completions", body.dump()).body);
  body["stream"] = true;
  std::string text;
  std::vector<std::string> data = SseData(Ask("/v1/completions", body.dump()).body);
  ASSERT_EQ(data.back(), "[DONE]");
  data.pop_back();
  for (const std::string& event : data) text += json::parse(event)["choices"][0]["text"];
  EXPECT_EQ(text, whole.at("choices").at(0).at("text"));
  // Many records each way: 1 MB of a text to cut into tokens, and its tokens back.
  const json tokens =
      json::parse(Ask("/tokenize", json{{"content", std::string(1 << 20, 'a')}}.dump()).body);
  EXPECT_GT(tokens.at("tokens").size(), 1000u);
  // A body that is refused without being read; curl still gets the answer.
  const Answer refused = Ask("/v1/completions", std::string(9 << 20, ' '));
  EXPECT_EQ(json::parse(refused.body).at("error").at("code"), "body_too_large");
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
}

TEST_F(TlsTest, ManyAtOnceAndSomeThatHangUp) {
  Start();
  json body = {{"prompt", "x"}, {"max_tokens", 400}, {"ignore_eos", true}, {"stream", true}};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      json request = body;
      if (i % 2 == 0) request["n"] = 100;
      const Answer answer = Ask("/v1/completions", request.dump(), i % 2 == 0);
      if (i % 2 == 0) {
        EXPECT_EQ(answer.result, CURLE_WRITE_ERROR);
      } else {
        EXPECT_EQ(SseData(answer.body).back(), "[DONE]");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  json health;
  for (int i = 0; i < 1000 && (health = Health())["running"] != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(health, json({{"status", "ok"}, {"running", 0}, {"queued", 0}}));
}

TEST_F(TlsTest, WhoDoesNotSpeakItHoldsNobodyUp) {
  Start();
  HttpClient silent(port_), plain(port_), half(port_);
  plain.Send("GET", "/health", "");
  half.SendBytes(std::string("\x16\x03\x01\x02\x00\x01", 6));  // a handshake that does not go on
  EXPECT_THROW(plain.ReadHead(), std::exception);
  EXPECT_EQ(Health()["status"], "ok");
  // A version that nobody should use any more; and another certificate than the client trusts.
  EXPECT_NE(
      Ask("/health", "", false, Only(CURL_SSLVERSION_TLSv1_1, CURL_SSLVERSION_MAX_TLSv1_1)).result,
      CURLE_OK);
  EXPECT_EQ(
      Ask("/health", "", false, Only(CURL_SSLVERSION_TLSv1_2, CURL_SSLVERSION_MAX_TLSv1_2)).result,
      CURLE_OK);
  certificate_ = dir_ / "other.pem";
  WriteCertificate(certificate_, dir_ / "other-key.pem");
  EXPECT_EQ(Ask("/health", "").result, CURLE_PEER_FAILED_VERIFICATION);
}

TEST_F(TlsTest, ANewCertificateIsReadOnSighup) {
  Start();
  EXPECT_EQ(Ask("/health", "").result, CURLE_OK);
  WriteCertificate(certificate_, key_);
  EXPECT_EQ(Ask("/health", "").result, CURLE_PEER_FAILED_VERIFICATION);
  server_->Signal(SIGHUP);
  for (int i = 0; i < 500 && Ask("/health", "").result != CURLE_OK; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(Ask("/health", "").result, CURLE_OK);
  std::ofstream(certificate_ + ".kept") << std::ifstream(certificate_).rdbuf();
  std::ofstream(certificate_) << "nonsense";
  server_->Signal(SIGHUP);
  certificate_ += ".kept";
  for (int i = 0; i < 500 && server_->Errors().find("stay as they were") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(Ask("/health", "").result, CURLE_OK);
}

TEST_F(TlsTest, WhatCannotBeUsedIsOneLine) {
  const std::string other = dir_ / "other-key.pem";
  WriteCertificate(dir_ / "other.pem", other);
  struct Case {
    std::string certificate, key, said;
    int status = 1;
  };
  for (const Case& c :
       {Case{dir_ / "absent", key_, "absent"}, Case{certificate_, dir_ / "gone", "gone"},
        Case{key_, key_, key_}, Case{certificate_, other, other},
        Case{certificate_, certificate_, "--tls-key"}}) {
    ExpectFailure(RunProgram({TERN_PROGRAM, "serve", "--model", model_, "--port", "0", "--tls-cert",
                              c.certificate, "--tls-key", c.key}),
                  {c.said}, c.status);
  }
  const ProgramResult half =
      RunProgram({TERN_PROGRAM, "serve", "--model", model_, "--tls-cert", certificate_});
  EXPECT_EQ(half.status, 2) << half.err;
}

}  // namespace
}  // namespace tern
