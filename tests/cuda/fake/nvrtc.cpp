// A libnvrtc.so that compiles any text with g++ for the processor. Compiled texts
// are kept in $QUERN_FAKE_KERNELS, named by the text and the options, so that a
// text is compiled once.
//
// The environment of bench.rs: QUERN_FAKE_SHIM is the folder of shim.h,
// QUERN_FAKE_FLAGS are further options of g++, QUERN_FAKE_TEXTS, if it is set, is a
// folder into which every text is written.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <string>
#define API extern "C" __attribute__((visibility("default")))
struct Program { std::string text, image, log; };
enum { OK = 0, INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6 };

static std::string env(const char* name) { const char* s = getenv(name); return s ? s : ""; }
static std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}
static void write_all(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
// Runs a command; what it says goes into `log`.
static bool run(const std::string& command, const std::string& path, std::string& log) {
  int status = system(("env -u LD_PRELOAD " + command + " 2>" + path + ".log").c_str());
  log = read_all(path + ".log");
  unlink((path + ".log").c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
static std::string hash(const std::string& text) {
  uint64_t h = 1469598103934665603ull, g = 88172645463325252ull;
  for (unsigned char c : text) { h = (h ^ c) * 1099511628211ull; g = (g + c) * 6364136223846793005ull + (g >> 29); }
  char name[40];
  snprintf(name, sizeof name, "%016llx%016llx", (unsigned long long)h, (unsigned long long)g);
  return name;
}

// Preprocesses the text, finds its kernels, and compiles it with a way to call each.
static bool compile(Program& p, const std::string& path) {
  std::string shim = env("QUERN_FAKE_SHIM");
  std::string flags = "-std=c++17 -O1 -g1 -fPIC -w -ffp-contract=off -fno-strict-aliasing " + env("QUERN_FAKE_FLAGS");
  write_all(path + ".cpp", "#include \"" + shim + "/shim.h\"\n" + p.text);
  if (!run("g++ " + flags + " -E -o " + path + ".ii " + path + ".cpp", path, p.log)) return false;
  std::string text = read_all(path + ".ii"), calls;
  std::regex kernel("__attribute__\\(\\(used\\)\\)\\s+void\\s+([A-Za-z_][A-Za-z0-9_]*)\\s*\\(");
  for (std::sregex_iterator i(text.begin(), text.end(), kernel), end; i != end; ++i) {
    std::string name = (*i)[1];
    calls += "\nextern \"C\" void shim_call_" + name + "(void** p) { shim_call(&" + name + ", p); }";
    calls += "\nextern \"C\" int shim_sizes_" + name + "(size_t* out) { return shim_sizes(&" + name + ", out); }";
  }
  write_all(path + ".ii", text + calls + "\n");
  return run("g++ " + flags + " -fpreprocessed -shared -o " + path + ".so " + path + ".ii", path, p.log);
}

// For tests: every compilation takes so long; the most that went on at once, and all so far.
static std::atomic<unsigned> slow_ms{0}, going{0}, most{0}, all{0};
static std::atomic<int> refuses{0};
API void fake_compile_fail(int on) { refuses = on; }
API void fake_compile_slow(unsigned ms) { slow_ms = ms; }
API void fake_compilations(unsigned* out) { out[0] = most; out[1] = all; }
struct Going {
  Going() { unsigned now = ++going, seen = most; while (seen < now && !most.compare_exchange_weak(seen, now)) {} all++; usleep(slow_ms * 1000); }
  ~Going() { going--; }
};

API int nvrtcVersion(int* major, int* minor) { *major = 13; *minor = 0; return OK; }
API int nvrtcCreateProgram(void** p, const char* text, const char*, int, const char**, const char**) { *p = new Program{text, "", ""}; return OK; }
API int nvrtcDestroyProgram(void** p) { delete (Program*)*p; *p = nullptr; return OK; }
API int nvrtcCompileProgram(void* q, int n, const char* const* options) {
  Going one;
  Program& p = *(Program*)q;
  if (refuses) { p.log = "error: nothing compiles today"; return COMPILATION; }
  for (int i = 0; i < n; i++) if (strncmp(options[i], "--", 2)) { p.log = "option " + std::string(options[i]); return INVALID_OPTION; }
  std::string folder = env("QUERN_FAKE_KERNELS");
  if (folder.empty()) { p.log = "QUERN_FAKE_KERNELS is not set"; return INVALID_PROGRAM; }
  if (!env("QUERN_FAKE_TEXTS").empty()) write_all(env("QUERN_FAKE_TEXTS") + "/" + hash(p.text) + ".cu", p.text);
  std::string shim_text = read_all(env("QUERN_FAKE_SHIM") + "/shim.h");
  std::string kept = folder + "/" + hash(p.text + shim_text + env("QUERN_FAKE_FLAGS"));
  std::string library = read_all(kept + ".so");
  if (library.empty()) {
    static std::atomic<int> n_compiled{0};
    std::string path = kept + "-" + std::to_string(getpid()) + "-" + std::to_string(n_compiled++);
    bool compiled = compile(p, path);
    library = compiled ? read_all(path + ".so") : "";
    if (compiled) rename((path + ".so").c_str(), (kept + ".so").c_str());
    for (const char* end : {".cpp", ".ii", ".so"}) unlink((path + end).c_str());
    if (!compiled) return COMPILATION;
  }
  uint64_t size = library.size();
  p.image = std::string("QFAKE\0\0\0", 8) + std::string((const char*)&size, 8) + library;
  return OK;
}
API int nvrtcGetCUBINSize(void* p, size_t* n) { *n = ((Program*)p)->image.size(); return OK; }
API int nvrtcGetCUBIN(void* p, char* out) { memcpy(out, ((Program*)p)->image.data(), ((Program*)p)->image.size()); return OK; }
API int nvrtcGetProgramLogSize(void* p, size_t* n) { *n = ((Program*)p)->log.size() + 1; return OK; }
API int nvrtcGetProgramLog(void* p, char* out) { strcpy(out, ((Program*)p)->log.c_str()); return OK; }
API const char* nvrtcGetErrorString(int code) { return code == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
