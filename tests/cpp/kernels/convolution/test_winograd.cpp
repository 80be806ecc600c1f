#include "caffe_ext/kernels/convolution/winograd.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "tests/cpp/support/convolution_fixtures.hpp"

namespace caffe_ext {
namespace {

class EngineKernelsWinograd : public EngineKernelsOfLanes {
 protected:
  static void Run(int tile, ConvolutionArrays* a) {
    ASSERT_TRUE(WinogradFits(a->s, tile));
    WinogradForward(a->s, tile, a->x.data(), a->weights.data(), AddBias(a->bias.data()),
                    a->y.data());
    WinogradBackwardWeights(a->s, tile, a->x.data(), a->dy.data(), a->factors.data(), a->dw.data(),
                            a->db.data());
    WinogradBackwardData(a->s, tile, a->dy.data(), a->weights.data(), a->dx.data());
  }
};

/// The sizes of tiles that fit a convolution.
std::vector<int> Tiles(const ConvolutionShape& s) {
  return s.kernel_height == 3 ? std::vector<int>{6, 8} : std::vector<int>{8};
}

INSTANTIATE_TEST_SUITE_P(Lanes, EngineKernelsWinograd, ::testing::Values(8, 16));

ConvolutionShape Square(int images, int channels, int height, int width, int outputs, int kernel,
                        int pad) {
  return {images, channels, height, width, outputs, kernel, kernel, pad, pad, 1, 1, 1};
}

TEST_P(EngineKernelsWinograd, AgreesWithTheDefinition) {
  std::vector<ConvolutionShape> shapes;
  for (const int kernel : {3, 5}) {
    for (int pad = 0; pad < kernel; ++pad) {
      shapes.push_back(Square(2, 1, kernel, kernel, 1, kernel, pad));  // smaller than a tile
      shapes.push_back(Square(3, 3, 9, 14, 5, kernel, pad));
      shapes.push_back(Square(1, 17, 8, 7, 33, kernel, pad));
      shapes.push_back(Square(2, 20, 12, 12, 50, kernel, pad));
      shapes.push_back(Square(1, 8, 5, 40, 16, kernel, pad));
      shapes.push_back(Square(1, 2, 70, 7, 20, kernel, pad));
    }
  }
  // Too many kernels to be transformed at once: part by part, the last rows and columns fewer.
  shapes.push_back(Square(2, 130, 9, 9, 140, 3, 1));
  shapes.push_back(Square(1, 140, 8, 8, 130, 5, 0));
  // The gradient of the bottom by the tiles of the top, several blocks of them.
  shapes.push_back(Square(2, 2, 60, 40, 3, 5, 0));
  shapes.push_back(Square(2, 3, 61, 37, 2, 3, 0));
  shapes.push_back(Square(1, 2, 61, 43, 3, 5, 1));
  for (const int kernel : {3, 5}) {
    shapes.push_back(Square(2, 12, 11, 9, 9, kernel, 1));
    shapes.back().groups = 3;
  }
  for (const ConvolutionShape& s : shapes) {
    const ConvolutionReference reference(s);
    for (const int tile : Tiles(s)) {
      for (const int threads : {1, 3}) {
        SCOPED_TRACE("kernel " + std::to_string(s.kernel_height) + ", tile " +
                     std::to_string(tile) + ", pad " + std::to_string(s.pad_height) +
                     ", channels " + std::to_string(s.channels) + ", threads " +
                     std::to_string(threads));
        SetKernelThreads(threads);
        reference.Check([&](ConvolutionArrays* a) { Run(tile, a); }, 3e-5);
        if (HasFatalFailure()) {
          return;
        }
      }
    }
  }
}

TEST_P(EngineKernelsWinograd, LeavesOutWhatIsNotAskedFor) {
  const ConvolutionShape s = Square(4, 5, 10, 9, 6, 5, 2);
  ConvolutionArrays all(s), some(s);
  std::fill(all.bias.begin(), all.bias.end(), 0.0F);
  std::fill(all.factors.begin(), all.factors.end(), 1.0F);
  Run(8, &all);
  WinogradForward(s, 8, some.x.data(), some.weights.data(), Epilogue(), some.y.data());
  WinogradBackwardWeights(s, 8, some.x.data(), some.dy.data(), nullptr, some.dw.data(), nullptr);
  EXPECT_TRUE(SameBits(some.y, all.y));
  EXPECT_TRUE(SameBits(some.dw, all.dw));
}

TEST_P(EngineKernelsWinograd, AnImageDoesNotDependOnItsBatchOrOnThreads) {
  for (const ConvolutionShape& one :
       {Square(1, 6, 14, 13, 18, 3, 1), Square(1, 6, 14, 45, 18, 5, 0),
        Square(1, 129, 7, 7, 129, 3, 1)}) {
    for (const int tile : Tiles(one)) {
      ConvolutionShape batch = one;
      batch.images = 11;
      ConvolutionArrays together(batch);
      SetKernelThreads(3);
      Run(tile, &together);
      SetKernelThreads(1);
      for (int i = 0; i < batch.images; ++i) {
        ConvolutionArrays alone(one);
        alone.weights = together.weights;
        alone.bias = together.bias;
        std::copy_n(together.x.begin() + i * one.BottomSize(), one.BottomSize(), alone.x.begin());
        std::copy_n(together.dy.begin() + i * one.TopSize(), one.TopSize(), alone.dy.begin());
        Run(tile, &alone);
        const auto y = together.y.begin() + i * one.TopSize();
        const auto dx = together.dx.begin() + i * one.BottomSize();
        EXPECT_TRUE(SameBits(alone.y, Floats(y, y + one.TopSize())));
        EXPECT_TRUE(SameBits(alone.dx, Floats(dx, dx + one.BottomSize())));
      }
    }
  }
}

TEST_P(EngineKernelsWinograd, HasTheSameBitsInEveryRun) {
  for (const int threads : {1, 2, 5}) {
    SetKernelThreads(threads);
    for (const int kernel : {3, 5}) {
      const ConvolutionShape s = Square(9, 16, 12, 12, 16, kernel, 0);
      for (const int tile : Tiles(s)) {
        ConvolutionArrays first(s), again = first;
        Run(tile, &first);
        Run(tile, &again);
        EXPECT_TRUE(again == first) << threads << " threads, tile " << tile;
      }
    }
  }
}

TEST_P(EngineKernelsWinograd, ZeroStaysZero) {
  for (const int kernel : {3, 5}) {
    const ConvolutionShape s = Square(3, 16, 12, 12, 16, kernel, kernel / 2);
    for (const int tile : Tiles(s)) {
      ConvolutionArrays a(s);
      std::fill(a.dy.begin(), a.dy.end(), 0.0F);
      std::fill(a.dw.begin(), a.dw.end(), 0.0F);
      Run(tile, &a);
      EXPECT_EQ(std::count(a.dx.begin(), a.dx.end(), 0.0F), static_cast<long>(a.dx.size()));
      EXPECT_EQ(std::count(a.dw.begin(), a.dw.end(), 0.0F), static_cast<long>(a.dw.size()));
    }
  }
}

TEST_F(EngineKernels, WinogradTakesWhatItCanAndWhatPays) {
  if (VectorLanes() == 0) {
    GTEST_SKIP() << "skipped: this processor has neither AVX2 nor AVX-512";
  }
  const ConvolutionShape good = Square(1, 32, 16, 16, 32, 5, 2);
  EXPECT_EQ(ChooseWinogradTile(good), 8);
  EXPECT_EQ(ChooseWinogradTileBackwardData(good), 8);
  EXPECT_EQ(ChooseWinogradTileBackwardWeights(good), 8);
  const auto fits = [&](int ConvolutionShape::*field, int value) {
    ConvolutionShape s = good;
    s.*field = value;
    return WinogradFits(s, 8);
  };
  EXPECT_TRUE(fits(&ConvolutionShape::groups, 2));
  EXPECT_FALSE(fits(&ConvolutionShape::stride_height, 2));
  EXPECT_FALSE(fits(&ConvolutionShape::stride_width, 2));
  EXPECT_FALSE(fits(&ConvolutionShape::kernel_width, 3));
  EXPECT_FALSE(fits(&ConvolutionShape::pad_width, 1));
  EXPECT_FALSE(WinogradFits(good, 6));
  EXPECT_TRUE(WinogradFits(Square(1, 32, 16, 16, 32, 3, 1), 6));
  EXPECT_FALSE(WinogradFits(Square(1, 32, 16, 16, 32, 7, 3), 8));
  EXPECT_FALSE(WinogradFits(Square(1, 32, 16, 16, 32, 5, 5), 8));

  EXPECT_EQ(ChooseWinogradTile(Square(1, 1, 28, 28, 20, 5, 0)), 0);  // LeNet's first layer
  const ConvolutionShape three = Square(1, 3, 32, 32, 32, 5, 2);
  EXPECT_EQ(ChooseWinogradTile(three), 8);
  EXPECT_EQ(ChooseWinogradTileBackwardData(three), 0);
  EXPECT_EQ(ChooseWinogradTileBackwardWeights(Square(64, 1024, 14, 14, 1024, 3, 1)), 0);  // memory

  // ResNet-50's 3 x 3 convolutions. 14 x 14 are 16 small tiles or 9 large ones.
  EXPECT_EQ(ChooseWinogradTile(Square(1, 64, 56, 56, 64, 3, 1)), 8);
  EXPECT_EQ(ChooseWinogradTile(Square(1, 256, 14, 14, 256, 3, 1)), 6);
  EXPECT_EQ(ChooseWinogradTileBackwardData(Square(1, 256, 14, 14, 256, 3, 1)), 6);
  EXPECT_EQ(ChooseWinogradTileBackwardWeights(Square(1, 256, 14, 14, 256, 3, 1)), 6);
  for (const int images : {1, 64}) {  // one image has too few tiles for so many kernels
    const ConvolutionShape last = Square(images, 512, 7, 7, 512, 3, 1);
    const int tile = images > 1 ? 6 : 0;
    EXPECT_EQ(ChooseWinogradTile(last), tile);
    EXPECT_EQ(ChooseWinogradTileBackwardData(last), 6);
    EXPECT_EQ(ChooseWinogradTileBackwardWeights(last), tile);
  }

  // LeNet and CIFAR-10 quick: an image's scores and gradient do not depend on its batch.
  for (const int images : {1, 2, 7, 100}) {
    for (const ConvolutionShape& s :
         {Square(images, 20, 12, 12, 50, 5, 0), Square(images, 32, 16, 16, 32, 5, 2),
          Square(images, 32, 8, 8, 64, 5, 2)}) {
      EXPECT_EQ(ChooseWinogradTile(s), 8);
      EXPECT_EQ(ChooseWinogradTileBackwardData(s), 8);
    }
  }

  SetVectorLanes(0);
  EXPECT_FALSE(WinogradFits(good, 8));
  SetVectorLanes(-1);
  EXPECT_TRUE(WinogradFits(good, 8));
}

}  // namespace
}  // namespace caffe_ext
