"""BibTeX for the methods that Lowtide implements or compares with."""

__all__ = ["BIBTEX"]

BIBTEX = r"""@inproceedings{ahn2020serenity,
  title     = {Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural Networks for Edge Devices},
  author    = {Ahn, Byung Hoon and Lee, Jinwon and Lin, Jamie Menjay and Cheng, Hsin-Pai and Hou, Jilei and Esmaeilzadeh, Hadi},
  booktitle = {Proceedings of Machine Learning and Systems (MLSys)},
  volume    = {2},
  pages     = {44--57},
  year      = {2020}
}

@inproceedings{jain2020checkmate,
  title     = {Checkmate: Breaking the Memory Wall with Optimal Tensor Rematerialization},
  author    = {Jain, Paras and Jain, Ajay and Nrusimha, Aniruddha and Gholami, Amir and Abbeel, Pieter and Gonzalez, Joseph and Keutzer, Kurt and Stoica, Ion},
  booktitle = {Proceedings of Machine Learning and Systems (MLSys)},
  volume    = {2},
  pages     = {497--511},
  year      = {2020}
}

@inproceedings{moffitt2023minimalloc,
  title     = {MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning},
  author    = {Moffitt, Michael D.},
  booktitle = {Proceedings of the 28th ACM International Conference on Architectural Support for Programming Languages and Operating Systems (ASPLOS), Volume 4},
  pages     = {238--252},
  year      = {2023},
  doi       = {10.1145/3623278.3624752}
}

@inproceedings{xie2019randwire,
  title     = {Exploring Randomly Wired Neural Networks for Image Recognition},
  author    = {Xie, Saining and Kirillov, Alexander and Girshick, Ross and He, Kaiming},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  pages     = {1284--1293},
  year      = {2019}
}

@misc{pisarchyk2020sharedobjects,
  title  = {Efficient Memory Management for Deep Neural Net Inference},
  author = {Pisarchyk, Yury and Lee, Juhyun},
  year   = {2020},
  eprint = {2001.03288},
  archivePrefix = {arXiv}
}
"""
