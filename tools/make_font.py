"""Make the Chinese font that comes with pretrain_notes: a subset of Debian's fonts-noto-cjk (Noto Sans CJK SC Regular, SIL OFL 1.1).

Run by hand, seldom:  apt-get install fonts-noto-cjk ; pip install fonttools ; python tools/make_font.py
"""
import argparse
from pathlib import Path
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection

root = Path(__file__).resolve().parents[1]
source = Path('/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc')
family = 'Pretrain Notes CJK'  # its own name, so that it never shadows (or hides behind) a full Noto installed on the machine

# words of the field, simplified and traditional: a figure's labels should never lack a glyph for them
glossary = '''数据 样本 标注 标签 标注员 一致性 预训练 微调 迁移学习 自监督 半监督 弱监督 无监督 监督学习 对比学习 掩码 重构 去重 近似重复 清洗 质量 隐私
脱敏 匿名 规范 标准 许可 版权 溯源 划分 训练集 验证集 测试集 泄漏 偏差 公平 漂移 异常 离群 缺失 噪声 置信度 熵 困惑度 损失 准确率 精确率 召回率 混淆矩阵
梯度 学习率 优化器 权重 衰减 批次 轮次 过拟合 正则化 归一化 嵌入 向量 词元 分词 词表 语料 编码器 解码器 注意力 卷积 池化 激活 残差 神经网络 大模型 扩散
蒸馏 剪枝 量化 推理 部署 提示词 检索 聚类 分类 回归 检测 分割 边界框 像素 图像 音频 语音 文本 视频 频谱 采样率 增强 裁剪 翻转 缓存 张量 显卡 内存 哈希 摘要
校准 阈值 直方图 散点图 折线图 横轴 纵轴 图例 主动学习 众包 仲裁 审核 命名实体 实体 情感 多模态 基准 评测 蛋白质 遥感 医学 病灶 瓶颈 冗余 稀疏 稠密 拓扑 熵增
數據 資料 樣本 標註 標籤 預訓練 微調 遷移學習 自監督 半監督 弱監督 對比學習 遮罩 重構 去重 隱私 規範 標準 許可 版權 劃分 訓練集 驗證集 測試集 洩漏 偏差 漂移
異常 離群 噪聲 雜訊 損失 準確率 精確率 召回率 矩陣 梯度 學習率 優化器 權重 衰減 批次 過擬合 歸一化 嵌入 向量 詞元 斷詞 詞表 語料 編碼器 解碼器 注意力 卷積 啟動
殘差 神經網路 網絡 擴散 蒸餾 剪枝 量化 推理 部署 檢索 聚類 分類 迴歸 檢測 偵測 圖像 影像 音頻 音訊 語音 文字 視頻 頻譜 取樣率 增強 張量 顯卡 記憶體 雜湊 摘要
校準 閾值 圖例 橫軸 縱軸 眾包 審核 質量 品質 醫學 遙感 評測'''
punctuation = '''、。〃々〈〉《》「」『』【】〔〕〖〗！＂＃＄％＆＇（）＊＋，－．／：；＜＝＞？＠［＼］＾＿｀｛｜｝～￥·…—–‘’“”•※×÷±°℃‰≈≠≤≥→←↑↓⇒■□●○◆◇★☆✓①②③④⑤⑥⑦⑧⑨⑩'''

def gb2312_level1():
    "The 3755 characters of GB 2312-80 level 1 (rows 16 to 55), in daily use."
    cells = (bytes([0xA0+r, 0xA0+c]) for r in range(16, 56) for c in range(1, 95))
    out = [b.decode('gb2312') for b in cells if not (b[0] == 0xD7 and b[1] > 0xF9)]  # row 55 ends five cells early
    assert len(out) == 3755
    return ''.join(out)

def wanted():
    "Every code point that the subset must hold."
    texts = ''.join(p.read_text(encoding='utf-8') for p in sorted((root/'tools').glob('sample_texts_*.txt')))
    ascii_latin1 = ''.join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)]))
    fullwidth = ''.join(map(chr, [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)]))
    return {ord(c) for c in gb2312_level1()+glossary+punctuation+texts+ascii_latin1+fullwidth+'\u3000' if c not in '\n\t'}

def main(src, out):
    face = next(f for f in TTCollection(src).fonts if f['name'].getDebugName(1) == 'Noto Sans CJK SC')
    version, want = face['name'].getDebugName(5), wanted()
    missing = sorted(want-set(face.getBestCmap()))
    drop = ['BASE', 'VORG', 'vhea', 'vmtx', 'GPOS', 'GSUB', 'GDEF', 'DSIG']
    opts = Options(layout_features=[], hinting=False, name_IDs=['*'], notdef_outline=True, drop_tables=drop)
    sub = Subsetter(opts)
    sub.populate(unicodes=want)
    sub.subset(face)
    one_word = family.replace(' ', '')
    for n in list(face['name'].names):  # OFL: keep the copyright and license records, give the changed font a name of its own
        new = {1: family, 3: f'{family};subset of {version}', 4: family, 6: one_word}.get(n.nameID)
        if n.nameID in (16, 17, 21, 22, 25): face['name'].removeNames(n.nameID)
        elif new: face['name'].setName(new, n.nameID, n.platformID, n.platEncID, n.langID)
    cff = face['CFF '].cff
    cff.fontNames = [one_word]
    cff.topDictIndex[0].FullName = cff.topDictIndex[0].FamilyName = family
    face['head'].modified = face['head'].created  # same input, same bytes
    face.recalcTimestamp = False
    face.save(out)
    print(f'{out.name}: {out.stat().st_size:,} bytes, {len(face.getBestCmap())} characters, from {version}')
    print('not in the source font:', ' '.join(f'U+{c:04X}' for c in missing) or 'none')

if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--source', type=Path, default=source)
    ap.add_argument('--out', type=Path, default=root/'pretrain_notes/assets/fonts/PretrainNotesCJK-Regular.otf')
    a = ap.parse_args()
    main(a.source, a.out)
